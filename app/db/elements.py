"""SQL that each engine says in words of its own: elements.

`app.db.sqlite` and `app.db.postgres` spell them. All else of the queries' SQL both read
alike.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.functions import FunctionElement, GenericFunction


class json_each(GenericFunction[Any]):  # noqa: N801  # a function's name in SQL
    """The values of a JSON array as the rows of a table, in its column `value`; as text or not."""

    inherit_cache = True


class whole(FunctionElement[int]):  # noqa: N801  # likewise
    """A `value` of `json_each` as the whole number that it is."""

    inherit_cache = True
    type = sa.BigInteger()


class looked_up(FunctionElement[str]):  # noqa: N801  # likewise
    """The text that a JSON object, given as text, holds by a key."""

    inherit_cache = True
    type = sa.String()


class unindexed(FunctionElement[Any]):  # noqa: N801  # likewise
    """A column, in words that keep SQLite from an index which it would choose for it."""

    inherit_cache = True

    def __init__(self, column: Any) -> None:
        """Wrap a column."""
        super().__init__(column)
        self.type = column.type


class json_text(FunctionElement[str]):  # noqa: N801  # likewise
    """A JSON column as the text that is stored, to be compared with such a text."""

    inherit_cache = True
    type = sa.String()
