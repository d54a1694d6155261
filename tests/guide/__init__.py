"""README and guide: what they show is run, what they name is there."""
