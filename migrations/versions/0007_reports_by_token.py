"""Which token a session's report came with; null where none was demanded.

Revision: 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoint_reports", sa.Column("token_id", text(26), nullable=True))


def downgrade() -> None:
    op.drop_column("checkpoint_reports", "token_id")
