"""The registry as it is sent: checkpoints, what they were made with, reports, aliases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fastapi import Response

from app.api.parameters import aliases_etag
from app.api.schemas import (
    AliasesOut,
    AliasMoveOut,
    CheckpointDetailOut,
    CheckpointOut,
    ReportOut,
)
from app.db.lineage import UsePlace
from app.db.tables import AliasHistoryRow
from app.domain.checkpoint import Alias, CheckpointFile
from app.domain.experience import CycleRole
from app.domain.provenance import LineageUse, Provenance
from app.errors import CursorNotFound
from app.services import live_reports, promotion, registry

_PLACE = re.compile(r"(\d{1,15})-(train|rehearsal|held_out)-(\d{1,15})", re.ASCII)
"""A cursor of a checkpoint's experiences: the place of the last one of the page before."""


def checkpoint_out(view: registry.CheckpointView) -> CheckpointOut:
    """A checkpoint of the registry."""
    return CheckpointOut(**_columns(view))


def checkpoint_detail_out(
    view: registry.CheckpointView, used: Sequence[Provenance]
) -> CheckpointDetailOut:
    """A checkpoint with every experience its own cycle used."""
    return CheckpointDetailOut(**_columns(view), experiences=used)


def cursor_of(use: LineageUse) -> str:
    """The cursor of the page behind this use."""
    return f"{use.cycle_number}-{use.role}-{use.position}"


def read_cursor(cursor: str) -> UsePlace:
    """The place a cursor names. Raises: CursorNotFound."""
    match = _PLACE.fullmatch(cursor)
    if match is None:
        raise CursorNotFound(
            "This cursor was not given out by this list; start without one.", pointer="/cursor"
        )
    return UsePlace(cycle_number=int(match[1]), role=CycleRole(match[2]), position=int(match[3]))


def report_out(view: live_reports.ReportView) -> ReportOut:
    """A session's report as it is kept."""
    row = view.row
    same = set(ReportOut.model_fields) - {"counted", "faults", "rolled_back"}
    return ReportOut(
        **{name: getattr(row, name) for name in same},
        counted=row.move_seq is not None,
        faults=list(view.faults),
        rolled_back=row.has_rolled_back,
    )


def aliases_out(view: promotion.AliasesView, response: Response) -> AliasesOut:
    """The aliases; one that points nowhere is null. Puts their entity tag on the answer."""
    response.headers["ETag"] = aliases_etag(view.revision)
    targets = {alias.name: alias.checkpoint_id for alias in view.aliases}
    return AliasesOut(
        instance=view.instance,
        revision=view.revision,
        **{alias.value: targets.get(alias.value) for alias in Alias},
    )


def alias_move_out(row: AliasHistoryRow) -> AliasMoveOut:
    """One move of an alias."""
    same = set(AliasMoveOut.model_fields) - {"id"}
    return AliasMoveOut(id=row.seq, **{name: getattr(row, name) for name in same})


def _columns(view: registry.CheckpointView) -> dict[str, Any]:
    row = view.row
    derived = {
        "instance", "aliases", "sleep_cycle_id", "cycle_number", "archive", "pinned",
    }  # fmt: skip
    same = set(CheckpointOut.model_fields) - derived
    return {
        **{name: getattr(row, name) for name in same},
        "instance": view.instance,
        "aliases": list(view.aliases),
        "sleep_cycle_id": row.cycle_id,
        "cycle_number": view.cycle_number,
        "archive": CheckpointFile(
            name=row.name.replace("/", "-") + ".tar",
            size_bytes=row.archive_size_bytes,
            sha256=row.archive_sha256,
        ),
        "pinned": row.is_pinned,
    }
