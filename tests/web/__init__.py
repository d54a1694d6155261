"""Browser tests of the console."""
