"""What the runtime of an instance calls its model, as the exchanges of its session scripts say.

An instance that session scripts made is called after its machine and its model, and each exchange's
metadata names both. Until now such a one was trained on the base of the settings, whatever it was.

Revision: 0009.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

from app.db.column_types import text

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

RUNTIMES = ("ollama", "llamacpp", "llama.cpp", "vllm", "hf", "huggingface", "transformers")


def upgrade() -> None:
    op.add_column("instances", sa.Column("model_name", text(), nullable=True))
    connection = op.get_bind()
    machine, model = "json_extract(metadata, '$.machine')", "json_extract(metadata, '$.model')"
    if connection.dialect.name == "postgresql":
        machine, model = "metadata ->> 'machine'", "metadata ->> 'model'"
    unnamed = connection.execute(
        sa.text("SELECT id, slug FROM instances WHERE base_model IS NULL AND slug <> 'default'")
    ).all()
    for instance_id, slug in unnamed:
        said = connection.execute(
            sa.text(
                f"SELECT {machine}, {model} "
                "FROM experiences WHERE instance_id = :id "
                f"AND {machine} IS NOT NULL "
                f"AND {model} IS NOT NULL ORDER BY seq DESC LIMIT 1"
            ),
            {"id": instance_id},
        ).first()
        if said is not None and slug in _slugs(*said):
            connection.execute(
                sa.text("UPDATE instances SET model_name = :name WHERE id = :id"),
                {"name": said[1][:256], "id": instance_id},
            )


def downgrade() -> None:
    op.drop_column("instances", "model_name")


def _slugs(machine: object, model: object) -> set[str]:
    """As the session scripts' collector names an instance, with the runtime's name or without."""
    if not (isinstance(machine, str) and isinstance(model, str)):
        return set()
    runtime, _, rest = model.partition(":")
    names = {model, rest} if rest and runtime.lower() in RUNTIMES else {model}
    slugs = (f"{machine}-{name.rpartition('/')[2]}".lower() for name in names)
    return {re.sub(r"[^a-z0-9._-]+", "-", slug)[:64].strip("-._") for slug in slugs}
