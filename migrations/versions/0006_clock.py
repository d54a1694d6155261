"""What was seen of the machine's clock, in one row.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import WHOLE, text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clock",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("seen_at", text(32), nullable=False),
        sa.Column("steady_since", text(32), nullable=True),
        sa.Column("confirmed_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
    )


def downgrade() -> None:
    op.drop_table("clock")
