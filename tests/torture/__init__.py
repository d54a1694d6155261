"""Kills and other faults at random moments: `python -m tests.torture` (`make torture`)."""
