"""First schema: tables, the triggers that keep `status_totals`, and the instance `default`.

Revision: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.column_types import WHOLE, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SUMS = ("total", "surprise", "novelty", "arousal", "reward", "conflict")


def _add_to_totals(row: str, own: str = "") -> str:
    columns = ", ".join(_SUMS)
    values = ", ".join(f"{row}.{name}" for name in _SUMS)
    updates = ", ".join(f"{name} = {own}{name} + excluded.{name}" for name in _SUMS)
    return (
        f"INSERT INTO status_totals (instance_id, status, count, {columns}) "
        f"VALUES ({row}.instance_id, {row}.status, 1, {values}) "
        f"ON CONFLICT (instance_id, status) DO UPDATE SET count = {own}count + 1, {updates};"
    )


def _take_from_totals(row: str) -> str:
    updates = ", ".join(f"{name} = {name} - {row}.{name}" for name in _SUMS)
    return (
        f"UPDATE status_totals SET count = count - 1, {updates} "
        f"WHERE instance_id = {row}.instance_id AND status = {row}.status;"
    )


def upgrade() -> None:
    op.create_table(
        "instances",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("slug", text(), nullable=False),
        sa.Column("base_model", text(), nullable=True),
        sa.Column("system_prompt", text(), nullable=True),
        sa.Column("timezone", text(), nullable=True),
        sa.Column("policy", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("recipe", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("last_cycle_number", WHOLE, server_default="0", nullable=False),
        sa.Column("last_exchange_at", text(32), nullable=True),
        sa.Column("created_at", text(32), nullable=False),
        sa.Column("updated_at", text(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("slug", name=op.f("uq_instances_slug")),
    )
    op.create_table(
        "experiences",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("id", text(26), nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("source_id", text(), nullable=True),
        sa.Column("idempotency_key", text(), nullable=True),
        sa.Column("content_sha256", text(64), nullable=False),
        sa.Column("session", text(), nullable=True),
        sa.Column("session_number", WHOLE, nullable=True),
        sa.Column("phase", text(), nullable=True),
        sa.Column("prompt", text(), nullable=False),
        sa.Column("response", text(), nullable=False),
        sa.Column("history", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("system_prompt", text(), nullable=True),
        sa.Column("tool_calls", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("occurred_at", text(32), nullable=True),
        sa.Column("received_at", text(32), nullable=False),
        sa.Column("surprise", sa.Double(), nullable=False),
        sa.Column("novelty", sa.Double(), nullable=False),
        sa.Column("arousal", sa.Double(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("conflict", sa.Double(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("scorer", text(), nullable=False),
        sa.Column("status", text(), nullable=False),
        sa.Column("reason", text(), nullable=True),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.Column("is_truncated", sa.Boolean(), nullable=False),
        sa.Column("is_kept_out", sa.Boolean(), nullable=False),
        sa.Column("attempts", WHOLE, server_default="0", nullable=False),
        sa.Column("erased_at", text(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_experiences_instance_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_experiences")),
        sa.UniqueConstraint("id", name=op.f("uq_experiences_id")),
        sa.UniqueConstraint(
            "instance_id", "content_sha256", name=op.f("uq_experiences_instance_id_content_sha256")
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.create_index("ix_experiences_instance_id", ["instance_id"], unique=False)
        batch_op.create_index(
            "ix_experiences_selection", ["instance_id", "status", "total"], unique=False
        )
        batch_op.create_index(
            "uq_experiences_idempotency_key",
            ["instance_id", "idempotency_key"],
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        )
        batch_op.create_index(
            "uq_experiences_source_id",
            ["instance_id", "source_id"],
            unique=True,
            sqlite_where=sa.text("source_id IS NOT NULL"),
            postgresql_where=sa.text("source_id IS NOT NULL"),
        )

    op.create_table(
        "seen_words",
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("word_hash", WHOLE, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_seen_words_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "word_hash", name=op.f("pk_seen_words")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sleep_cycles",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("id", text(26), nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("status", text(), nullable=False),
        sa.Column("trigger", text(), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", text(), nullable=True),
        sa.Column("request_sha256", text(64), nullable=True),
        sa.Column("decision", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("verdict", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("worker_id", text(), nullable=True),
        sa.Column("attempts", WHOLE, server_default="0", nullable=False),
        sa.Column("created_at", text(32), nullable=False),
        sa.Column("started_at", text(32), nullable=True),
        sa.Column("heartbeat_at", text(32), nullable=True),
        sa.Column("cancel_requested_at", text(32), nullable=True),
        sa.Column("finished_at", text(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_sleep_cycles_instance_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_sleep_cycles")),
        sa.UniqueConstraint("id", name=op.f("uq_sleep_cycles_id")),
        sa.UniqueConstraint(
            "instance_id", "number", name=op.f("uq_sleep_cycles_instance_id_number")
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("sleep_cycles", schema=None) as batch_op:
        batch_op.create_index(
            "uq_sleep_cycles_active",
            ["instance_id"],
            unique=True,
            sqlite_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
            postgresql_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
        )
        batch_op.create_index(
            "uq_sleep_cycles_idempotency_key",
            ["instance_id", "idempotency_key"],
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        )

    op.create_table(
        "status_totals",
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("status", text(), nullable=False),
        sa.Column("count", WHOLE, nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("surprise", sa.Double(), nullable=False),
        sa.Column("novelty", sa.Double(), nullable=False),
        sa.Column("arousal", sa.Double(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=False),
        sa.Column("conflict", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_status_totals_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "status", name=op.f("pk_status_totals")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("id", text(26), nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("cycle_id", text(26), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("parent_id", text(26), nullable=True),
        sa.Column("base_model", text(), nullable=False),
        sa.Column("base_sha256", text(64), nullable=False),
        sa.Column("status", text(), nullable=False),
        sa.Column("verdict", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("files", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("archive_size_bytes", WHOLE, nullable=False),
        sa.Column("archive_sha256", text(64), nullable=False),
        sa.Column("note", text(), nullable=True),
        sa.Column("is_pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", text(32), nullable=False),
        sa.Column("deleted_at", text(32), nullable=True),
        sa.ForeignKeyConstraint(
            ["cycle_id"], ["sleep_cycles.id"], name=op.f("fk_checkpoints_cycle_id")
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_checkpoints_instance_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["checkpoints.id"], name=op.f("fk_checkpoints_parent_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("cycle_id", name=op.f("uq_checkpoints_cycle_id")),
        sa.UniqueConstraint("id", name=op.f("uq_checkpoints_id")),
        sa.UniqueConstraint("name", name=op.f("uq_checkpoints_name")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_checkpoints_instance_id"), ["instance_id"], unique=False
        )

    op.create_table(
        "cycle_experiences",
        sa.Column("cycle_id", text(26), nullable=False),
        sa.Column("experience_seq", WHOLE, autoincrement=False, nullable=False),
        sa.Column("role", text(), nullable=False),
        sa.Column("position", WHOLE, nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cycle_id"], ["sleep_cycles.id"], name=op.f("fk_cycle_experiences_cycle_id")
        ),
        sa.ForeignKeyConstraint(
            ["experience_seq"],
            ["experiences.seq"],
            name=op.f("fk_cycle_experiences_experience_seq"),
        ),
        sa.PrimaryKeyConstraint("cycle_id", "experience_seq", name=op.f("pk_cycle_experiences")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("cycle_experiences", schema=None) as batch_op:
        batch_op.create_index(
            "ix_cycle_experiences_experience_seq", ["experience_seq"], unique=False
        )

    op.create_table(
        "alias_history",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("alias", text(), nullable=False),
        sa.Column("from_checkpoint_id", text(26), nullable=True),
        sa.Column("to_checkpoint_id", text(26), nullable=True),
        sa.Column("action", text(), nullable=False),
        sa.Column("actor", text(), nullable=False),
        sa.Column("reason", text(), nullable=True),
        sa.Column("at", text(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["from_checkpoint_id"],
            ["checkpoints.id"],
            name=op.f("fk_alias_history_from_checkpoint_id"),
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_alias_history_instance_id")
        ),
        sa.ForeignKeyConstraint(
            ["to_checkpoint_id"], ["checkpoints.id"], name=op.f("fk_alias_history_to_checkpoint_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_alias_history")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("alias_history", schema=None) as batch_op:
        batch_op.create_index(
            "ix_alias_history_line", ["instance_id", "alias", "to_checkpoint_id"], unique=False
        )

    op.create_table(
        "aliases",
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("checkpoint_id", text(26), nullable=False),
        sa.Column("updated_at", text(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_aliases_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_aliases_instance_id")
        ),
        sa.PrimaryKeyConstraint("instance_id", "name", name=op.f("pk_aliases")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("instance_id", WHOLE, nullable=False),
        sa.Column("cycle_id", text(26), nullable=True),
        sa.Column("checkpoint_id", text(26), nullable=True),
        sa.Column("type", text(), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at", text(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_events_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["sleep_cycles.id"], name=op.f("fk_events_cycle_id")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_events_instance_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index("ix_events_cycle_id", ["cycle_id", "seq"], unique=False)
        batch_op.create_index("ix_events_instance_id", ["instance_id", "seq"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _finish_on_postgres()
        return
    op.execute(
        "CREATE TRIGGER experiences_counted AFTER INSERT ON experiences BEGIN "
        f"{_add_to_totals('NEW')} END"
    )
    op.execute(
        "CREATE TRIGGER experiences_recounted AFTER UPDATE OF status, total ON experiences BEGIN "
        f"{_take_from_totals('OLD')} {_add_to_totals('NEW')} END"
    )
    op.execute(
        "INSERT INTO instances (slug, policy, recipe, created_at, updated_at) VALUES ("
        "'default', '{}', '{}', "
        "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'), "
        "strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'))"
    )


def _finish_on_postgres() -> None:
    """The same triggers and the same first row; only there a column has to say whose it is."""
    add = _add_to_totals("NEW", own="status_totals.")
    for name, when, statements in (
        ("experiences_counted", "INSERT", add),
        ("experiences_recounted", "UPDATE OF status, total", f"{_take_from_totals('OLD')} {add}"),
    ):
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {statements} RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} AFTER {when} ON experiences "
            f"FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
    now = """to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\\:MI\\:SS.MS"000+00\\:00"')"""
    op.execute(
        "INSERT INTO instances (slug, policy, recipe, created_at, updated_at) "
        f"VALUES ('default', '{{}}', '{{}}', {now}, {now})"
    )


def downgrade() -> None:
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index("ix_events_instance_id")
        batch_op.drop_index("ix_events_cycle_id")

    op.drop_table("events")
    op.drop_table("aliases")
    with op.batch_alter_table("alias_history", schema=None) as batch_op:
        batch_op.drop_index("ix_alias_history_line")

    op.drop_table("alias_history")
    with op.batch_alter_table("cycle_experiences", schema=None) as batch_op:
        batch_op.drop_index("ix_cycle_experiences_experience_seq")

    op.drop_table("cycle_experiences")
    with op.batch_alter_table("checkpoints", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_checkpoints_instance_id"))

    op.drop_table("checkpoints")
    op.drop_table("status_totals")
    with op.batch_alter_table("sleep_cycles", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_sleep_cycles_idempotency_key", sqlite_where=sa.text("idempotency_key IS NOT NULL"),
 postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        )
        batch_op.drop_index(
            "uq_sleep_cycles_active",
            sqlite_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
            postgresql_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
        )

    op.drop_table("sleep_cycles")
    op.drop_table("seen_words")
    with op.batch_alter_table("experiences", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_experiences_source_id", sqlite_where=sa.text("source_id IS NOT NULL"),
 postgresql_where=sa.text("source_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "uq_experiences_idempotency_key", sqlite_where=sa.text("idempotency_key IS NOT NULL"),
 postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        )
        batch_op.drop_index("ix_experiences_selection")
        batch_op.drop_index("ix_experiences_instance_id")

    op.drop_table("experiences")
    op.drop_table("instances")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION experiences_counted")
        op.execute("DROP FUNCTION experiences_recounted")
