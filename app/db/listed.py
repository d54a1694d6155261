"""A list as rows: all values bound as one JSON array, so no limit on them, and one cached plan."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa


def listed(values: Collection[Any]) -> sa.TableValuedAlias:
    """A table with these values in its one column, `value`."""
    return sa.func.json_each(json.dumps(list(values))).table_valued("value")


def is_listed(
    column: sa.orm.InstrumentedAttribute[Any], values: Collection[Any]
) -> sa.ColumnElement[bool]:
    """The condition that a column holds one of these values."""
    return column.in_(sa.select(listed(values).c.value))
