"""Webhooks, and what is sent to each.

Revision: 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import WHOLE, text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", text(26), nullable=False),
        sa.Column("url", text(), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("instances", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("types", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("secret", text(), nullable=False),
        sa.Column("older_secret", text(), nullable=True),
        sa.Column("older_secret_until", text(32), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", text(), nullable=True),
        sa.Column("last_event_seq", WHOLE, nullable=False),
        sa.Column("created_at", text(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("id", text(26), nullable=False),
        sa.Column("webhook_id", text(26), nullable=False),
        sa.Column("event_seq", WHOLE, nullable=True),
        sa.Column("type", text(), nullable=False),
        sa.Column("message", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("status", text(), nullable=False),
        sa.Column("attempts", WHOLE, server_default="0", nullable=False),
        sa.Column("next_attempt_at", text(32), nullable=True),
        sa.Column("last_status_code", WHOLE, nullable=True),
        sa.Column("last_error", text(), nullable=True),
        sa.Column("created_at", text(32), nullable=False),
        sa.Column("ended_at", text(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.id"],
            name=op.f("fk_webhook_deliveries_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_webhook_deliveries_id")),
        sa.UniqueConstraint(
            "webhook_id", "event_seq", name=op.f("uq_webhook_deliveries_webhook_id_event_seq")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_webhook_deliveries_status"), "webhook_deliveries", ["status", "next_attempt_at"]
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
