"""Figures that are not finite become null: SQLite before 3.42 refuses JSON that holds one.

What it refused was to look into the reports of an instance, so that nothing of it could be erased.

Revision: 0014.
"""

from __future__ import annotations

import json
import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_COLUMNS = {
    "sleep_cycles": ("metrics", "verdict", "progress"),
    "checkpoints": ("metrics", "verdict"),
    "events": ("data",),
}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        return  # which never took such a figure
    for name, columns in _COLUMNS.items():
        for column in columns:
            table = sa.table(name, sa.column("seq"), sa.column(column, sa.String))
            text = table.c[column]
            odd = sa.select(table.c.seq, text).where(
                sa.or_(text.like("%NaN%"), text.like("%Infinity%"))
            )
            for seq, stored in connection.execute(odd).all():
                healed = json.dumps(_without_infinite(json.loads(stored)))
                connection.execute(
                    sa.update(table).where(table.c.seq == seq).values({column: healed})
                )


def downgrade() -> None:
    """Null is read by every version."""


def _without_infinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_infinite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_infinite(one) for one in value]
    return value
