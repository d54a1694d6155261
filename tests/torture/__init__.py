"""Kills at random moments: `python -m tests.torture` (`make torture`)."""
