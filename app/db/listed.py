"""A list as rows: all values bound as one JSON array, so no limit on them, and one cached plan."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from app.db.elements import json_each, whole


def listed(values: Collection[Any]) -> sa.TableValuedAlias:
    """A table with these values in its one column, `value`; numbers are `number_of` it."""
    return json_each(json.dumps(list(values))).table_valued("value")


def number_of(rows: sa.TableValuedAlias) -> sa.ColumnElement[int]:
    """The number in a row of `listed`."""
    return whole(rows.c.value)


def is_listed(
    column: sa.orm.InstrumentedAttribute[Any], values: Collection[Any]
) -> sa.ColumnElement[bool]:
    """The condition that a column holds one of these values."""
    rows = listed(values)
    is_number = isinstance(column.type, sa.Integer)
    return column.in_(sa.select(number_of(rows) if is_number else rows.c.value))
