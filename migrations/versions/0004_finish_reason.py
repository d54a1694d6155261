"""How a reply ended, as its runtime said; null where it said nothing.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiences", sa.Column("finish_reason", text(), nullable=True))


def downgrade() -> None:
    op.drop_column("experiences", "finish_reason")
