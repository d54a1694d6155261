"""Routes of a few lines that call services, one file per noun."""
