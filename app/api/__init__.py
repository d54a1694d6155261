"""HTTP only: routes of a few lines that call services."""
