"""What an experience is a near copy of; those that were filtered for that wait again.

Revision: 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiences", sa.Column("near_copy_of", text(26), nullable=True))
    op.execute(
        "UPDATE experiences SET status = 'below_threshold', near_copy_of = substr(reason, 14, 26) "
        "WHERE status = 'filtered' AND reason LIKE 'near copy of %, which cycle %'"
    )


def downgrade() -> None:
    op.execute(
        "UPDATE experiences SET status = 'filtered' "
        "WHERE status = 'below_threshold' AND near_copy_of IS NOT NULL"
    )
    op.drop_column("experiences", "near_copy_of")
