"""A real PostgreSQL server: what the database does there, and a daemon over it."""
