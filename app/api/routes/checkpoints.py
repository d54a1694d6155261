"""/v1/checkpoints: the registry of published adapters."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.deps import (
    Cursor,
    DaemonDep,
    ExpectedRevisions,
    Limit,
    Now,
    aliases_etag,
)
from app.api.downloads import DOWNLOAD_PARAMETERS, download_responses, send
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.problems import problem_responses
from app.api.routes.instances import aliases_out
from app.api.schemas import (
    AliasesOut,
    CheckpointDetailOut,
    CheckpointOut,
    CheckpointPatch,
    FileOut,
    LineageUseOut,
    ListOut,
    PromoteIn,
    ProvenanceOut,
)
from app.artifacts import Archive
from app.db.lineage import UsePlace
from app.domain.checkpoint import CheckpointStatus
from app.domain.experience import CycleRole
from app.errors import CursorNotFound
from app.services import registry

MEDIA_TYPES = {".json": "application/json"}

_PLACE = re.compile(r"(\d{1,15})-(train|rehearsal|held_out)-(\d{1,15})", re.ASCII)
"""A cursor of a checkpoint's experiences: the place of the last one of the page before."""

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=GuardedRoute)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_checkpoints(
    daemon: DaemonDep,
    access: AccessDep,
    instance: str | None = None,
    status: CheckpointStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[CheckpointOut]:
    """List checkpoints, newest first."""
    if instance is not None:
        access.require_instance(instance)
    views, next_cursor = registry.list_checkpoints(
        daemon.db,
        instance=instance,
        within=access.instances,
        status=status.value if status else None,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[CheckpointOut(**_columns(view)) for view in views],
        has_more=next_cursor is not None,
        next=next_cursor,
    )


@router.get("/{checkpoint_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_checkpoint(checkpoint_id: str, daemon: DaemonDep) -> CheckpointDetailOut:
    """One checkpoint, with every experience it was made with."""
    view = registry.get_checkpoint(daemon.db, checkpoint_id)
    used = [
        ProvenanceOut(
            experience_id=experience_id, role=use.role, position=use.position, weight=use.weight
        )
        for use, experience_id in registry.list_provenance(daemon.db, checkpoint_id)
    ]
    return CheckpointDetailOut(**_columns(view), experiences=used)


@router.get("/{checkpoint_id}/experiences", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_checkpoint_experiences(
    checkpoint_id: str,
    daemon: DaemonDep,
    role: CycleRole | None = None,
    ancestors: Annotated[
        bool, Query(description="Also what the adapters it went on from were made with.")
    ] = True,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> ListOut[LineageUseOut]:
    """Every experience a checkpoint was made with: its own cycle's first, then its ancestors'."""
    rows = registry.list_uses(
        daemon.db,
        checkpoint_id,
        with_ancestors=ancestors,
        role=role,
        after=_read_place(cursor) if cursor else None,
        limit=limit,
    )
    data = [
        LineageUseOut(
            experience_id=use.experience_id,
            role=use.place.role,
            position=use.place.position,
            weight=use.weight,
            checkpoint_id=use.checkpoint_id,
            sleep_cycle_id=use.cycle_id,
            cycle_number=use.place.cycle_number,
        )
        for use in rows[:limit]
    ]
    has_more = len(rows) > limit
    last = data[-1] if has_more else None
    return ListOut(
        data=data,
        has_more=has_more,
        next=f"{last.cycle_number}-{last.role}-{last.position}" if last else None,
    )


@router.patch("/{checkpoint_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def patch_checkpoint(checkpoint_id: str, body: CheckpointPatch, daemon: DaemonDep) -> CheckpointOut:
    """Change a checkpoint's note or pin."""
    columns = {"note": "note", "pinned": "is_pinned"}
    values = {columns[name]: getattr(body, name) for name in body.model_fields_set}
    return CheckpointOut(**_columns(registry.annotate_checkpoint(daemon.db, checkpoint_id, values)))


@router.delete(
    "/{checkpoint_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def delete_checkpoint(checkpoint_id: str, daemon: DaemonDep, now: Now) -> None:
    """Delete a checkpoint's files; its record stays."""
    registry.delete_checkpoint(daemon.db, checkpoint_id, root=daemon.checkpoints_root, now=now)


@router.post(
    "/{checkpoint_id}/promote",
    responses=problem_responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED
    ),
)
def promote_checkpoint(
    checkpoint_id: str,
    response: Response,
    daemon: DaemonDep,
    now: Now,
    expected_revisions: ExpectedRevisions,
    body: PromoteIn | None = None,
) -> AliasesOut:
    """Make a checkpoint `current`; a refused one needs `force` and a reason."""
    wanted = body or PromoteIn()
    daemon.guard.check_promotion(checkpoint_id, now=now)
    view = registry.promote(
        daemon.db,
        checkpoint_id,
        root=daemon.checkpoints_root,
        is_forced=wanted.force,
        actor=wanted.actor,
        reason=wanted.reason,
        expected_revisions=expected_revisions,
        now=now,
    )
    response.headers["ETag"] = aliases_etag(view.revision)
    return aliases_out(view)


@router.api_route(
    "/{checkpoint_id}/files/{name}",
    methods=["GET", "HEAD"],
    response_class=Response,
    openapi_extra={"parameters": DOWNLOAD_PARAMETERS},
    responses={
        **download_responses("application/octet-stream", *MEDIA_TYPES.values()),
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
def get_checkpoint_file(
    checkpoint_id: str, name: str, request: Request, daemon: DaemonDep, now: Now
) -> Response:
    """One file of a checkpoint; its ETag is its sha256, and ranges are served."""
    view = registry.get_checkpoint(daemon.db, checkpoint_id)
    # The path is made of the registry's own names; the client's only chooses among them.
    file = registry.find_file(view, name)
    daemon.guard.require_intact(view.row, now=now)
    path = daemon.checkpoints_root / view.row.name / file.name
    media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    content = Archive(parts=(path,), sizes=(file.size_bytes,))
    return send(request, content, filename=file.name, sha256=file.sha256, media_type=media_type)


@router.api_route(
    "/{checkpoint_id}/archive",
    methods=["GET", "HEAD"],
    response_class=Response,
    openapi_extra={"parameters": DOWNLOAD_PARAMETERS},
    responses={
        **download_responses("application/x-tar"),
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
def get_checkpoint_archive(
    checkpoint_id: str, request: Request, daemon: DaemonDep, now: Now
) -> Response:
    """The whole checkpoint as one tar; its ETag is its sha256, and a range is served."""
    view = registry.get_checkpoint(daemon.db, checkpoint_id)
    archive = registry.open_archive(view, daemon.checkpoints_root)
    daemon.guard.require_intact(view.row, now=now)
    filename = view.row.name.replace("/", "-") + ".tar"
    return send(
        request,
        archive,
        filename=filename,
        sha256=view.row.archive_sha256,
        media_type="application/x-tar",
    )


def _read_place(cursor: str) -> UsePlace:
    match = _PLACE.fullmatch(cursor)
    if match is None:
        raise CursorNotFound(
            "This cursor was not given out by this list; start without one.", pointer="/cursor"
        )
    return UsePlace(cycle_number=int(match[1]), role=match[2], position=int(match[3]))


def _columns(view: registry.CheckpointView) -> dict[str, Any]:
    row = view.row
    derived = {
        "instance", "aliases", "sleep_cycle_id", "cycle_number", "files", "archive", "pinned",
    }  # fmt: skip
    same = set(CheckpointOut.model_fields) - derived
    return {
        **{name: getattr(row, name) for name in same},
        "instance": view.instance,
        "aliases": list(view.aliases),
        "sleep_cycle_id": row.cycle_id,
        "cycle_number": view.cycle_number,
        "files": [FileOut(**file) for file in row.files],
        "archive": FileOut(
            name=row.name.replace("/", "-") + ".tar",
            size_bytes=row.archive_size_bytes,
            sha256=row.archive_sha256,
        ),
        "pinned": row.is_pinned,
    }
