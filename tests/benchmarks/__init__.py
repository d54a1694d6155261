"""Benchmarks: each measures against a baseline in the same run and prints its target beside it."""
