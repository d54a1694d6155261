"""Schema migrations (Alembic), shipped with the package so that `sage-sleep migrate` finds them."""
