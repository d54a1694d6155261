"""What routes are given: the daemon's parts, and the headers many routes share."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from pydantic.json_schema import SkipJsonSchema

from app.api.cycle_texts import CycleTexts
from app.api.guards.admission import Admission
from app.api.guards.write_slots import WriteSlots
from app.api.ingest_meter import IngestMeter
from app.clock import utc_now
from app.db.engine import Database
from app.domain.instance import InstanceDefaults
from app.services.figures import FigureReader
from app.services.file_guard import FileGuard
from app.services.ingest import IngestResult, Submission

MAX_INTEGER = 2**53
"""Largest whole number taken in a parameter: exact in JSON everywhere, within SQLite's range."""

_ALIASES_ETAG = re.compile(r'"(\d{1,15})"', re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Daemon:
    """The running daemon as routes see it.

    Attributes:
        checkpoints_root: Directory of the published checkpoints.
        kept_root: Directory of what is measured of models once and kept.
        snapshots_root: Directory of what running trainings would go on from.
        guard: Looks at checkpoints' files before they are used.
        admission: Lets callers in.
        writes: Bounds the changes that are under way.
        submit: Stores one exchange; done when it is durable.
        on_ingested: To be called with the slugs that received exchanges.
        on_queued: To be called when a cycle was queued.
        begin_stop: Tells the running cycle's process to end; may be called in a signal handler.
        is_worker_alive: Whether scheduler, supervisor and ingest writer run.
        figures: What a scrape reads.
        cycle_texts: What of it was rendered before.
        ingest_meter: Counts what comes in.
    """

    version: str
    started_at: datetime
    db: Database
    data_dir: Path
    checkpoints_root: Path
    kept_root: Path
    snapshots_root: Path
    guard: FileGuard
    defaults: InstanceDefaults
    admission: Admission
    writes: WriteSlots
    submit: Callable[[Submission], Awaitable[IngestResult]]
    on_ingested: Callable[[set[str]], None]
    on_queued: Callable[[], None]
    begin_stop: Callable[[], None]
    is_worker_alive: Callable[[], bool]
    figures: FigureReader
    cycle_texts: CycleTexts
    ingest_meter: IngestMeter


async def get_daemon(request: Request) -> Daemon:
    """The daemon, from the application's state."""
    daemon: Daemon = request.app.state.daemon
    return daemon


async def get_now() -> datetime:
    """The instant of the request; async, since FastAPI sends a plain function through a thread."""
    return utc_now()


def aliases_etag(revision: int) -> str:
    """The entity tag of an instance's aliases."""
    return f'"{revision}"'


async def read_if_match(
    if_match: Annotated[
        str | None,
        Header(description="Entity tag of the instance's aliases as last read.", max_length=256),
    ] = None,
) -> frozenset[int] | None:
    """Revisions of the aliases the caller would act on; None for any. A foreign tag is none."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = (_ALIASES_ETAG.fullmatch(tag.strip()) for tag in if_match.split(","))
    return frozenset(int(match[1]) for match in found if match)


DaemonDep = Annotated[Daemon, Depends(get_daemon)]
Now = Annotated[datetime, Depends(get_now)]
ExpectedRevisions = Annotated[frozenset[int] | None, Depends(read_if_match)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=256,
        description="Sent again with the same body, the request is done once.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Rows per page.")]
Cursor = Annotated[
    str | None, Query(max_length=64, description="`next` of the page before; none for the first.")
]
EventNumber = Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Id of the last one known.")]
LastEventId = Annotated[
    int | SkipJsonSchema[None], Header(ge=0, le=MAX_INTEGER, alias="Last-Event-ID")
]
Accept = Annotated[str, Header(include_in_schema=False)]
"""OpenAPI says by an answer's content what may be asked for, and ignores such a parameter."""
