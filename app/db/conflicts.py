"""INSERT that says what becomes of a row whose key is there already, in the engine's own words."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


def insert_into(session: Session, table: type[Any]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT into a table, with `on_conflict_do_update` and `on_conflict_do_nothing`."""
    is_postgres = session.get_bind().dialect.name == "postgresql"
    return postgresql.insert(table) if is_postgres else sqlite.insert(table)
