"""What of which checkpoint lies in a mirror.

Revision: 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mirrored",
        sa.Column("checkpoint_id", text(), nullable=False),
        sa.Column("remote", text(), nullable=False),
        sa.Column("begun_at", text(32), nullable=False),
        sa.Column("mirrored_at", text(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_mirrored_checkpoint_id")
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", "remote", name=op.f("pk_mirrored")),
    )


def downgrade() -> None:
    op.drop_table("mirrored")
