"""Alembic's environment. On SQLite foreign keys are off while a table is rebuilt.

A batch rebuild with foreign_keys=ON would delete cascading children, so migrations run with it
OFF and `foreign_key_check` must find nothing afterwards. PostgreSQL rebuilds no table, and undoes
the whole of a migration that fails.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from app.db.tables import Table
from app.settings import Settings


def run_migrations() -> None:
    url = context.config.attributes.get("url") or Settings().effective_database_url
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            connection.commit()
        context.configure(
            connection=connection, target_metadata=Table.metadata, render_as_batch=True
        )
        with context.begin_transaction():
            context.run_migrations()
            if is_sqlite:
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise RuntimeError(f"foreign keys broken by the migration: {broken[:5]}")
    engine.dispose()


run_migrations()
