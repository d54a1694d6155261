"""The older scripts' API, as its users call it."""
