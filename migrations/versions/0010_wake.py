"""When an instance was woken while a cycle of it was queued or running.

Revision: 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sleep_cycles", sa.Column("woken_at", text(), nullable=True))


def downgrade() -> None:
    op.drop_column("sleep_cycles", "woken_at")
