"""Variations are gone from recipes: what instances asked for of them is taken away.

Revision: 0015.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_GONE = ("variations", "variation_share")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        return  # no version that knew them could open one
    table = sa.table("instances", sa.column("id"), sa.column("recipe", sa.String))
    rows = connection.execute(
        sa.select(table.c.id, table.c.recipe).where(table.c.recipe.like("%variation%"))
    ).all()
    for number, stored in rows:
        kept = {name: value for name, value in json.loads(stored).items() if name not in _GONE}
        connection.execute(
            sa.update(table).where(table.c.id == number).values(recipe=json.dumps(kept))
        )


def downgrade() -> None:
    """Without them a recipe has none, in every version."""
