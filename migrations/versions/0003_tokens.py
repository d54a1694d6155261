"""Access tokens, of which only hashes are kept.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import WHOLE, text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", text(26), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("secret_sha256", text(64), nullable=False),
        sa.Column("scopes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("instances", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("requests_per_minute", WHOLE, nullable=True),
        sa.Column("max_body_bytes", WHOLE, nullable=True),
        sa.Column("created_at", text(32), nullable=False),
        sa.Column("expires_at", text(32), nullable=True),
        sa.Column("revoked_at", text(32), nullable=True),
        sa.Column("last_used_at", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )


def downgrade() -> None:
    op.drop_table("tokens")
