"""The watchdog's looks at the venue."""
