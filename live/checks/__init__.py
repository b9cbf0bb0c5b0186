"""The checks of preflight, by what they look at."""
