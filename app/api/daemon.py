"""The running daemon's parts, as routes are given them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from app.api.event_watch import EventWatch
from app.api.guards.admission import Admission
from app.api.guards.write_slots import WriteSlots
from app.api.ingest_meter import IngestMeter
from app.artifacts.exports import MadeExport
from app.db.engine import Database
from app.db.tables import SleepCycleRow
from app.domain.chat import ModelName
from app.domain.export import ExportOrder
from app.domain.fit import FitAnswer, FitQuestion
from app.services.bringing import Brought
from app.services.chatting import Answering
from app.services.figures import FigureReader
from app.services.file_guard import FileGuard
from app.services.ingest import IngestResult, Submission
from app.services.mirroring import MirrorState, MirrorView


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
        batch_turn: Held by the one batch that is read and stored.
        on_ingested: To be called with the slugs that received exchanges.
        on_queued: To be called when a cycle was queued.
        ask_fit: Says what a cycle would set aside; takes seconds.
        get_export: Makes of a checkpoint what another runtime reads, unless it was made before.
        pushes: Bring what is live of an instance into a runtime, by its name; may take minutes.
        read_mirror_state: Says how the copying to the mirror stands.
        look_at_mirror: Says what lies in the mirror, as an instance sees it; takes seconds.
        pull_from_mirror: Queues a cycle that adopts a checkpoint of it; takes seconds.
        take_answering: Says who answers a chat now; loads it where it is not; may take seconds.
        begin_stop: Tells the running cycle's process to end; may be called in a signal handler.
        is_worker_alive: Whether scheduler, supervisor and ingest writer run.
        figures: What a scrape reads.
        event_watch: Tells streams what is new.
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
    admission: Admission
    writes: WriteSlots
    submit: Callable[[Submission], Awaitable[IngestResult]]
    batch_turn: Callable[[], AbstractContextManager[None]]
    on_ingested: Callable[[set[str]], None]
    on_queued: Callable[[], None]
    ask_fit: Callable[[FitQuestion], FitAnswer]
    get_export: Callable[[ExportOrder], MadeExport]
    pushes: Mapping[str, Callable[[str], Brought]]
    read_mirror_state: Callable[[], MirrorState]
    look_at_mirror: Callable[..., MirrorView]
    pull_from_mirror: Callable[..., SleepCycleRow]
    take_answering: Callable[[ModelName], Answering]
    begin_stop: Callable[[], None]
    is_worker_alive: Callable[[], bool]
    figures: FigureReader
    event_watch: EventWatch
    ingest_meter: IngestMeter


async def get_daemon(request: Request) -> Daemon:
    """The daemon, from the application's state."""
    daemon: Daemon = request.app.state.daemon
    return daemon


DaemonDep = Annotated[Daemon, Depends(get_daemon)]
