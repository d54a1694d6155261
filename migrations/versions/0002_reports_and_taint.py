"""Live reports on checkpoints, and the marks that reports and erasures leave on a checkpoint.

Revision: 0002. Columns are added in place: nothing is rebuilt, so no child row can cascade away.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import WHOLE, text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("tainted_at", text(32), nullable=True))
    op.add_column("checkpoints", sa.Column("regressed_at", text(32), nullable=True))
    op.create_index("ix_checkpoints_parent_id", "checkpoints", ["parent_id"], unique=False)
    op.create_table(
        "checkpoint_reports",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("id", text(26), nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("checkpoint_id", text(26), nullable=False),
        sa.Column("move_seq", WHOLE, nullable=True),
        sa.Column("report_id", text(), nullable=True),
        sa.Column("idempotency_key", text(), nullable=True),
        sa.Column("body_sha256", text(64), nullable=False),
        sa.Column("session", text(), nullable=False),
        sa.Column("repetition_ratio", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("note", text(), nullable=True),
        sa.Column("has_rolled_back", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("received_at", text(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_checkpoint_reports_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_checkpoint_reports_instance_id")
        ),
        sa.ForeignKeyConstraint(
            ["move_seq"], ["alias_history.seq"], name=op.f("fk_checkpoint_reports_move_seq")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_checkpoint_reports")),
        sa.UniqueConstraint("id", name=op.f("uq_checkpoint_reports_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_checkpoint_reports_checkpoint_id", "checkpoint_reports", ["checkpoint_id"], unique=False
    )
    op.create_index(
        "ix_checkpoint_reports_move_seq", "checkpoint_reports", ["move_seq"], unique=False
    )
    for column in ("report_id", "idempotency_key"):
        op.create_index(
            f"uq_checkpoint_reports_{column}",
            "checkpoint_reports",
            ["instance_id", column],
            unique=True,
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )


def downgrade() -> None:
    op.drop_table("checkpoint_reports")
    op.drop_index("ix_checkpoints_parent_id", "checkpoints")
    op.drop_column("checkpoints", "regressed_at")
    op.drop_column("checkpoints", "tainted_at")
