"""Runs in the engine, and their results."""
