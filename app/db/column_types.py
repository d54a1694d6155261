"""Types of columns that PostgreSQL has in several sizes and orders, and SQLite in one.

Whole numbers have 64 bits; texts compare by code points, as ids and cursors need it, whatever the
server's locale is. On SQLite they are what they always were, so migrations use them too.
"""

from __future__ import annotations

import sqlalchemy as sa

WHOLE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def text(length: int | None = None) -> sa.String:
    """A text, of so many characters at most where that is part of its meaning."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
