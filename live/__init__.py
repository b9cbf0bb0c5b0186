"""The live node."""
