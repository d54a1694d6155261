"""Which data directory the database belongs to, by an id that stands in both.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pairing",
        sa.Column("pair_id", text(26), nullable=False),
        sa.Column("paired_at", text(32), nullable=False),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_pairing")),
    )


def downgrade() -> None:
    op.drop_table("pairing")
