"""Processes and time: when cycles start, the child they run in, and what the child does."""
