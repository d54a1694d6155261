"""The tables; long, so that the schema is seen whole; of a file a row holds name and sha256.

`status_totals` and its triggers (in the migration) keep counts and salience sums by status, so
that mass and statistics cost the same at a million experiences as at ten. JSON becomes a value of
the domain here and nowhere else, whatever version wrote it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator

from app.db.column_types import WHOLE, text
from app.domain.checkpoint import CheckpointFile
from app.domain.decision import SleepDecision
from app.domain.events import EventFacts, read_facts
from app.domain.experience import Lesson
from app.domain.gate import Verdict
from app.domain.plan import CyclePlan
from app.domain.progress import CycleError, Progress
from app.domain.report import TrainingReport
from app.domain.stored import Value, adapter, dump


def instant_text(value: datetime) -> str:
    """An aware instant as it is stored; a naive one is a defect of the caller."""
    if value.tzinfo is None:
        raise ValueError("an instant without a time zone cannot be stored")
    return value.astimezone(UTC).isoformat(timespec="microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant, stored as ISO 8601 text that sorts by time; refuses naive values."""

    impl = sa.String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Text whose order is that of time."""
        return dialect.type_descriptor(text(32).dialect_impl(dialect))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """Store an aware value."""
        return None if value is None else instant_text(value)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002
        """Read back an aware value."""
        return None if value is None else datetime.fromisoformat(value)


class Stored(TypeDecorator[Value], Generic[Value]):
    """A value of the domain, stored as JSON; see `app.domain.stored`."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self, kind: type[Value]) -> None:
        """Read and write values of a kind."""
        self.kind = kind
        super().__init__(none_as_null=True)

    def process_bind_param(self, value: Value | None, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        """Write a value as plain JSON."""
        if value is None:
            return None
        return dump(self.kind, value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Value | None:  # noqa: ARG002
        """Read a value back. Raises: ValueError."""
        return None if value is None else adapter(self.kind).validate_python(value)

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """A part of the JSON is compared as the part that it is."""
        return self.impl_instance.coerce_compared_value(op, value)


class Table(DeclarativeBase):
    """Root of all tables."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own declarative attribute
        int: WHOLE,
        str: text(),
        datetime: UtcDateTime(),
        dict[str, Any]: sa.JSON(none_as_null=True),
        list[Any]: sa.JSON(none_as_null=True),
        SleepDecision: Stored(SleepDecision),
        CyclePlan: Stored(CyclePlan),
        Progress: Stored(Progress),
        TrainingReport: Stored(TrainingReport),
        Verdict: Stored(Verdict),
        CycleError: Stored(CycleError),
        tuple[CheckpointFile, ...]: Stored(tuple[CheckpointFile, ...]),
        tuple[Lesson, ...]: Stored(tuple[Lesson, ...]),
    }


class InstanceRow(Table):
    """One raised model. Null means: as in the settings; `policy` and `recipe` hold overrides.

    `model_name`: what its runtime calls its model; its base follows from that where it has none.
    """

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    base_model: Mapped[str | None]
    model_name: Mapped[str | None]
    system_prompt: Mapped[str | None]
    timezone: Mapped[str | None]
    policy: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any]]
    last_cycle_number: Mapped[int] = mapped_column(server_default="0")
    last_exchange_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ExperienceRow(Table):
    """One exchange. `seq` orders arrivals; `id` is what leaves the process.

    `near_copy_of`: the id of what a cycle trained in its place; while that stands, it is not.
    """

    __tablename__ = "experiences"
    __table_args__ = (
        sa.UniqueConstraint("instance_id", "content_sha256"),
        sa.Index(
            "uq_experiences_source_id",
            "instance_id",
            "source_id",
            unique=True,
            sqlite_where=sa.text("source_id IS NOT NULL"),
            postgresql_where=sa.text("source_id IS NOT NULL"),
        ),
        sa.Index(
            "uq_experiences_idempotency_key",
            "instance_id",
            "idempotency_key",
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        ),
        sa.Index("ix_experiences_instance_id", "instance_id"),
        sa.Index("ix_experiences_selection", "instance_id", "status", "total"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(text(26), unique=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"))
    source_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    content_sha256: Mapped[str] = mapped_column(text(64))
    session: Mapped[str | None]
    session_number: Mapped[int | None]
    phase: Mapped[str | None]
    prompt: Mapped[str]
    response: Mapped[str]
    history: Mapped[list[Any]]
    system_prompt: Mapped[str | None]
    finish_reason: Mapped[str | None]
    tool_calls: Mapped[list[Any]]
    extra: Mapped[dict[str, Any]] = mapped_column("metadata")
    occurred_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    surprise: Mapped[float]
    novelty: Mapped[float]
    arousal: Mapped[float]
    reward: Mapped[float]
    conflict: Mapped[float]
    total: Mapped[float]
    scorer: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    similarity: Mapped[float]
    near_copy_of: Mapped[str | None] = mapped_column(text(26))
    is_truncated: Mapped[bool]
    is_kept_out: Mapped[bool]
    attempts: Mapped[int] = mapped_column(server_default="0")
    lessons: Mapped[tuple[Lesson, ...]] = mapped_column(server_default="[]")
    erased_at: Mapped[datetime | None]


class StatusTotalsRow(Table):
    """Count and salience sums of one status of one instance; kept by triggers."""

    __tablename__ = "status_totals"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"), primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    total: Mapped[float]
    surprise: Mapped[float]
    novelty: Mapped[float]
    arousal: Mapped[float]
    reward: Mapped[float]
    conflict: Mapped[float]

    @property
    def mass(self) -> float:
        """`total`, without the 1e-14 that adding and taking away leave of an empty buffer."""
        return round(self.total, 9) + 0.0  # never a negative zero


class SeenWordRow(Table):
    """A word an instance used before, as a 64-bit hash; added when `app.db.seen_words` says."""

    __tablename__ = "seen_words"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"), primary_key=True)
    word_hash: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class SleepCycleRow(Table):
    """One attempt to consolidate; the partial unique index allows one active per instance."""

    __tablename__ = "sleep_cycles"
    __table_args__ = (
        sa.UniqueConstraint("instance_id", "number"),
        sa.Index(
            "uq_sleep_cycles_active",
            "instance_id",
            unique=True,
            sqlite_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
            postgresql_where=sa.text("status IN ('queued', 'training', 'evaluating')"),
        ),
        sa.Index(
            "uq_sleep_cycles_idempotency_key",
            "instance_id",
            "idempotency_key",
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(text(26), unique=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"))
    number: Mapped[int]
    status: Mapped[str]
    trigger: Mapped[str]
    is_forced: Mapped[bool]
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str | None] = mapped_column(text(64))
    decision: Mapped[SleepDecision]
    plan: Mapped[CyclePlan]
    progress: Mapped[Progress | None]
    metrics: Mapped[TrainingReport | None]
    verdict: Mapped[Verdict | None]
    error: Mapped[CycleError | None]
    worker_id: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class CycleExperienceRow(Table):
    """Provenance both ways: which experience was what to which cycle, with its weight."""

    __tablename__ = "cycle_experiences"
    __table_args__ = (
        sa.Index("ix_cycle_experiences_experience_seq", "experience_seq"),
        {"sqlite_with_rowid": False},
    )

    cycle_id: Mapped[str] = mapped_column(sa.ForeignKey("sleep_cycles.id"), primary_key=True)
    experience_seq: Mapped[int] = mapped_column(
        sa.ForeignKey("experiences.seq"), primary_key=True, autoincrement=False
    )
    role: Mapped[str]
    position: Mapped[int]
    weight: Mapped[float]


class CheckpointRow(Table):
    """An immutable published adapter; `name` is its directory below the checkpoint root.

    `tainted_at`: when an experience that it, or an ancestor, was trained on was first erased.
    `regressed_at`: when live reports took it back; a forced promotion clears it.
    """

    __tablename__ = "checkpoints"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(text(26), unique=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"), index=True)
    cycle_id: Mapped[str] = mapped_column(sa.ForeignKey("sleep_cycles.id"), unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    parent_id: Mapped[str | None] = mapped_column(sa.ForeignKey("checkpoints.id"), index=True)
    base_model: Mapped[str]
    base_sha256: Mapped[str] = mapped_column(text(64))
    status: Mapped[str]
    verdict: Mapped[Verdict]
    metrics: Mapped[TrainingReport]
    files: Mapped[tuple[CheckpointFile, ...]]
    archive_size_bytes: Mapped[int]
    archive_sha256: Mapped[str] = mapped_column(text(64))
    note: Mapped[str | None]
    is_pinned: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    tainted_at: Mapped[datetime | None]
    regressed_at: Mapped[datetime | None]


class AliasRow(Table):
    """A movable name for a checkpoint: current, previous, candidate."""

    __tablename__ = "aliases"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(sa.ForeignKey("checkpoints.id"))
    updated_at: Mapped[datetime]


class AliasHistoryRow(Table):
    """One move of an alias: from where to where, by whom, why. A null end is the bare base."""

    __tablename__ = "alias_history"
    __table_args__ = (
        sa.Index("ix_alias_history_line", "instance_id", "alias", "to_checkpoint_id"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"))
    alias: Mapped[str]
    from_checkpoint_id: Mapped[str | None] = mapped_column(sa.ForeignKey("checkpoints.id"))
    to_checkpoint_id: Mapped[str | None] = mapped_column(sa.ForeignKey("checkpoints.id"))
    action: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str | None]
    at: Mapped[datetime]


class CheckpointReportRow(Table):
    """What a live session found of a checkpoint.

    `move_seq` is the move of `current` under which the checkpoint served; null if it did not.
    Only reports of the move that stands are counted, so a promotion starts from none. `token_id`:
    whose report it is; null where no token was demanded.
    """

    __tablename__ = "checkpoint_reports"
    __table_args__ = (
        sa.Index(
            "uq_checkpoint_reports_report_id",
            "instance_id",
            "report_id",
            unique=True,
            sqlite_where=sa.text("report_id IS NOT NULL"),
            postgresql_where=sa.text("report_id IS NOT NULL"),
        ),
        sa.Index(
            "uq_checkpoint_reports_idempotency_key",
            "instance_id",
            "idempotency_key",
            unique=True,
            sqlite_where=sa.text("idempotency_key IS NOT NULL"),
            postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(text(26), unique=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"))
    checkpoint_id: Mapped[str] = mapped_column(sa.ForeignKey("checkpoints.id"), index=True)
    move_seq: Mapped[int | None] = mapped_column(sa.ForeignKey("alias_history.seq"), index=True)
    report_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    body_sha256: Mapped[str] = mapped_column(text(64))
    token_id: Mapped[str | None] = mapped_column(text(26))
    session: Mapped[str]
    repetition_ratio: Mapped[float]
    score: Mapped[float | None]
    note: Mapped[str | None]
    has_rolled_back: Mapped[bool] = mapped_column(server_default=sa.false())
    received_at: Mapped[datetime]


class EventRow(Table):
    """One fact, append-only; `seq` is the id that SSE clients resume from.

    Only the progress of cycles that ended goes again, a day later (`app.services.retention`).
    """

    __tablename__ = "events"
    __table_args__ = (
        sa.Index("ix_events_cycle_id", "cycle_id", "seq"),
        sa.Index("ix_events_instance_id", "instance_id", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(sa.ForeignKey("instances.id"))
    cycle_id: Mapped[str | None] = mapped_column(sa.ForeignKey("sleep_cycles.id"))
    checkpoint_id: Mapped[str | None] = mapped_column(sa.ForeignKey("checkpoints.id"))
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]

    @property
    def facts(self) -> EventFacts:
        """What the event says."""
        return read_facts(self.type, self.data)


class PairingRow(Table):
    """The data directory that the database belongs to; no row before the first start on one."""

    __tablename__ = "pairing"

    pair_id: Mapped[str] = mapped_column(text(26), primary_key=True)
    paired_at: Mapped[datetime]


class ClockRow(Table):
    """What was seen of the machine's clock, in one row; see `app.domain.clock_trust`."""

    __tablename__ = "clock"

    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]
    steady_since: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]


class TokenRow(Table):
    """An access token; its secret is not kept, only the hash of it.

    `instances` are slugs it is bound to; null for all. Limits that are null are the daemon's.
    `last_used_at` is coarse: see `app.api.guards.admission`.
    """

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(text(26), primary_key=True)
    name: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(text(64))
    scopes: Mapped[list[Any]]
    instances: Mapped[list[Any] | None]
    requests_per_minute: Mapped[int | None]
    max_body_bytes: Mapped[int | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class MirroredRow(Table):
    """A checkpoint's copy in a mirror; `remote` is `name:path`.

    The row is there before the first byte, with `mirrored_at` null, and goes after the last one:
    what may lie in a mirror is always known. `mirrored_at`: when every byte was last read back.
    """

    __tablename__ = "mirrored"

    checkpoint_id: Mapped[str] = mapped_column(sa.ForeignKey("checkpoints.id"), primary_key=True)
    remote: Mapped[str] = mapped_column(primary_key=True)
    begun_at: Mapped[datetime]
    mirrored_at: Mapped[datetime | None]


class WebhookRow(Table):
    """Where messages go. Null instances and types: all of them.

    `secret` signs, so it is kept as it is; `older_secret` signs beside it until its end.
    `last_event_seq`: up to where messages were made of the event log.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(text(26), primary_key=True)
    url: Mapped[str]
    name: Mapped[str]
    instances: Mapped[list[Any] | None]
    types: Mapped[list[Any] | None]
    secret: Mapped[str]
    older_secret: Mapped[str | None]
    older_secret_until: Mapped[datetime | None]
    is_enabled: Mapped[bool]
    disabled_reason: Mapped[str | None]
    last_event_seq: Mapped[int]
    created_at: Mapped[datetime]


class WebhookDeliveryRow(Table):
    """One message to one webhook; `id` is its webhook-id, the same at each attempt.

    `event_seq` is null for a test. An event makes one message at most for each webhook.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("webhook_id", "event_seq"),
        sa.Index("ix_webhook_deliveries_status", "status", "next_attempt_at"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(text(26), unique=True)
    webhook_id: Mapped[str] = mapped_column(sa.ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_seq: Mapped[int | None]
    type: Mapped[str]
    message: Mapped[dict[str, Any]]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime | None]
    last_status_code: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
