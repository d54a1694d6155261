"""What ingest reads and writes: SQL on the driver's own connection, see `Database.write_driver`.

A transaction of ingest is short and there are many: a session of SQLAlchemy with its statements
costs more than all else that is done for a single exchange, so this one path goes without.
Tables and columns are those of `app.db.tables`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from app.db.dialect import Driver
from app.db.tables import instant_text

_RECEIPT_COLUMNS = (
    "id", "content_sha256", "source_id", "idempotency_key",
    "surprise", "novelty", "arousal", "reward", "conflict", "total", "scorer",
    "status", "reason", "similarity", "is_truncated",
)  # fmt: skip
_COLUMNS = (
    *_RECEIPT_COLUMNS, "instance_id", "session", "session_number", "phase", "prompt", "response",
    "history", "system_prompt", "tool_calls", "metadata", "occurred_at", "received_at",
    "is_kept_out", "finish_reason",
)  # fmt: skip
_INSERT_EXPERIENCE = (
    f"INSERT INTO experiences ({', '.join(_COLUMNS)}) "  # noqa: S608  # names of our own
    f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_KNOWN_BY = {
    name: f"SELECT {', '.join(_RECEIPT_COLUMNS)} FROM experiences "  # noqa: S608  # likewise
    f"WHERE instance_id = ? AND {name} IN (SELECT value FROM json_each(?))"
    for name in ("content_sha256", "source_id", "idempotency_key")
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestInstance:
    """What ingest needs to know of an instance; `policy` holds what it overrides.

    `has_model`: something was said of its base or its model.
    """

    id: int
    policy: Mapping[str, Any]
    has_model: bool


def find_instance(connection: Driver, slug: str) -> IngestInstance | None:
    """Return the instance of this slug, or None."""
    row = connection.execute(
        "SELECT id, policy, base_model IS NOT NULL OR model_name IS NOT NULL "
        "FROM instances WHERE slug = ?",
        (slug,),
    ).fetchone()
    if row is None:
        return None
    return IngestInstance(id=row[0], policy=json.loads(row[1]), has_model=bool(row[2]))


def record_model_name(connection: Driver, instance_id: int, name: str) -> None:
    """Keep what an instance's runtime calls its model."""
    connection.execute("UPDATE instances SET model_name = ? WHERE id = ?", (name, instance_id))


def find_known(
    connection: Driver,
    instance_id: int,
    *,
    content_hashes: Collection[str],
    source_ids: Collection[str],
    idempotency_keys: Collection[str],
) -> list[dict[str, Any]]:
    """Experiences of the instance that share a content hash, source id or idempotency key."""
    wanted = {
        "content_sha256": content_hashes,
        "source_id": source_ids,
        "idempotency_key": idempotency_keys,
    }
    return [
        dict(zip(_RECEIPT_COLUMNS, row, strict=True))
        for name, values in wanted.items()
        if values
        for row in connection.execute(_KNOWN_BY[name], (instance_id, json.dumps(list(values))))
    ]


def histories_by_hash(
    connection: Driver, instance_id: int, content_hashes: Collection[str]
) -> dict[str, list[Any]]:
    """The history of each experience of these hashes that has one, as JSON values."""
    rows = connection.execute(
        "SELECT content_sha256, history FROM experiences WHERE instance_id = ? "
        "AND CAST(history AS TEXT) <> '[]' AND content_sha256 IN (SELECT value FROM json_each(?))",
        (instance_id, json.dumps(list(content_hashes))),
    )
    return {sha256: json.loads(history) for sha256, history in rows}


def list_recent_responses(connection: Driver, instance_id: int, limit: int) -> list[str]:
    """The instance's last responses whose text is still there, newest last."""
    rows = connection.execute(
        "SELECT response FROM experiences WHERE instance_id = ? AND erased_at IS NULL "
        "ORDER BY seq DESC LIMIT ?",
        (instance_id, limit),
    ).fetchall()
    return [response for (response,) in reversed(rows)]


def insert_experiences(
    connection: Driver,
    instance_id: int,
    rows: Sequence[Mapping[str, Any]],
    *,
    received_at: datetime,
) -> None:
    """Add experiences to an instance in order."""
    shared = {"instance_id": instance_id, "received_at": instant_text(received_at)}
    connection.executemany(_INSERT_EXPERIENCE, [{**_as_stored(row), **shared} for row in rows])


def record_exchange_at(connection: Driver, instance_id: int, at: datetime) -> None:
    """Note when the instance last received an exchange."""
    connection.execute(
        "UPDATE instances SET last_exchange_at = ? WHERE id = ?", (instant_text(at), instance_id)
    )


def _as_stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what SQLite has no type for as text, as PostgreSQL reads it too."""
    occurred_at = row["occurred_at"]
    return {
        **row,
        "history": _json(row["history"]),
        "tool_calls": _json(row["tool_calls"]),
        "metadata": _json(row["metadata"]),
        "occurred_at": None if occurred_at is None else instant_text(occurred_at),
    }


def _json(value: Any) -> str:
    return to_json(value).decode()
