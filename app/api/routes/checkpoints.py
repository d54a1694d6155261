"""/v1/checkpoints: the registry of published adapters, and what live sessions found of them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.answers.checkpoints import (
    aliases_out,
    checkpoint_detail_out,
    checkpoint_out,
    cursor_of,
    read_cursor,
    report_out,
)
from app.api.answers.downloads import DOWNLOAD_PARAMETERS, download_responses, send
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Cursor, ExpectedRevisions, IdempotencyKey, IdPrefix, Limit, Now
from app.api.problems import problem_responses
from app.api.schemas import (
    AliasesOut,
    CheckpointDetailOut,
    CheckpointOut,
    CheckpointPatch,
    ListOut,
    PromoteIn,
    ReportIn,
    ReportOut,
)
from app.artifacts.archive import Archive
from app.domain.checkpoint import CheckpointStatus
from app.domain.experience import CycleRole
from app.domain.export import find_export
from app.domain.provenance import LineageUse
from app.services import live_reports, promotion, registry
from app.services.exporting import order_export

MEDIA_TYPES = {".json": "application/json", ".tar": "application/x-tar"}

_FILE: dict[str, Any] = {
    "response_class": Response,
    "openapi_extra": {"parameters": DOWNLOAD_PARAMETERS},
    "responses": {
        **download_responses("application/octet-stream", *MEDIA_TYPES.values()),
        **problem_responses(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.GONE,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
}
_ARCHIVE: dict[str, Any] = {
    "response_class": Response,
    "openapi_extra": {"parameters": DOWNLOAD_PARAMETERS},
    "responses": {
        **download_responses("application/x-tar"),
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
}
"""What GET and HEAD of a download have in common; FastAPI gives one route of both a single id."""

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=GuardedRoute)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_checkpoints(
    daemon: DaemonDep,
    access: AccessDep,
    instance: str | None = None,
    status: CheckpointStatus | None = None,
    id_prefix: IdPrefix = None,
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
        id_prefix=id_prefix,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[checkpoint_out(view) for view in views],
        has_more=next_cursor is not None,
        next=next_cursor,
    )


@router.get("/{checkpoint_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_checkpoint(checkpoint_id: str, daemon: DaemonDep) -> CheckpointDetailOut:
    """One checkpoint, with every experience it was made with."""
    view = registry.get_checkpoint(daemon.db, checkpoint_id)
    used = registry.list_provenance(daemon.db, checkpoint_id)
    return checkpoint_detail_out(view, used)


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
) -> ListOut[LineageUse]:
    """Every experience a checkpoint was made with: its own cycle's first, then its ancestors'."""
    rows = registry.list_uses(
        daemon.db,
        checkpoint_id,
        with_ancestors=ancestors,
        role=role,
        after=read_cursor(cursor) if cursor else None,
        limit=limit,
    )
    data = list(rows[:limit])
    has_more = len(rows) > limit
    return ListOut(data=data, has_more=has_more, next=cursor_of(data[-1]) if has_more else None)


@router.patch("/{checkpoint_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def patch_checkpoint(checkpoint_id: str, body: CheckpointPatch, daemon: DaemonDep) -> CheckpointOut:
    """Change a checkpoint's note or pin."""
    columns = {"note": "note", "pinned": "is_pinned"}
    values = {columns[name]: getattr(body, name) for name in body.model_fields_set}
    return checkpoint_out(registry.annotate_checkpoint(daemon.db, checkpoint_id, values))


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
    """Make a checkpoint `current`; a rejected one needs `force` and a reason."""
    wanted = body or PromoteIn()
    view = promotion.promote(
        daemon.db,
        checkpoint_id,
        guard=daemon.guard,
        is_forced=wanted.force,
        actor=wanted.actor,
        reason=wanted.reason,
        expected_revisions=expected_revisions,
        now=now,
    )
    return aliases_out(view, response)


@router.head("/{checkpoint_id}/files/{name}", **_FILE)
@router.get("/{checkpoint_id}/files/{name}", **_FILE)
def get_checkpoint_file(
    checkpoint_id: str, name: str, request: Request, daemon: DaemonDep, now: Now
) -> Response:
    """One file of a checkpoint; its ETag is its sha256, and ranges are served.

    Beside those that the checkpoint lists: `adapter.gguf` for llama.cpp, and the base with the
    adapter merged in, `merged-f16.gguf`, `merged-q8_0.gguf` and `merged-safetensors.tar`. They are
    made when they are asked for, with the base that is on this machine; one that takes longer than
    an answer may is answered 503 with Retry-After until it is there.
    """
    view = registry.get_checkpoint(daemon.db, checkpoint_id)
    if (export := find_export(name)) is not None:
        order = order_export(daemon.db, view, export, root=daemon.checkpoints_root)
        daemon.guard.require_intact(view.row, now=now)
        made = daemon.get_export(order)
        media_type = MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")
        return send(
            request,
            made.content,
            filename=f"{view.row.name.replace('/', '-')}-{name}",
            sha256=made.file.sha256,
            media_type=media_type,
        )
    # The path is made of the registry's own names; the client's only chooses among them.
    file = registry.find_file(view, name)
    daemon.guard.require_intact(view.row, now=now)
    path = daemon.checkpoints_root / view.row.name / file.name
    media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    content = Archive(parts=(path,), sizes=(file.size_bytes,))
    return send(request, content, filename=file.name, sha256=file.sha256, media_type=media_type)


@router.head("/{checkpoint_id}/archive", **_ARCHIVE)
@router.get("/{checkpoint_id}/archive", **_ARCHIVE)
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


@router.post(
    "/{checkpoint_id}/reports",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"description": "Known already; nothing changed.", "model": ReportOut},
        **problem_responses(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        ),
    },
)
def post_report(
    checkpoint_id: str,
    body: ReportIn,
    response: Response,
    daemon: DaemonDep,
    access: AccessDep,
    now: Now,
    key: IdempotencyKey = None,
) -> ReportOut:
    """Keep a session's verdict; enough sessions that find the current checkpoint bad roll it back.

    Each session has one voice, that of its last report, and reports step back once per promotion.
    """
    view, is_new = live_reports.record_report(
        daemon.db,
        live_reports.ReportSubmission(checkpoint_id=checkpoint_id, **body.model_dump()),
        idempotency_key=key,
        now=now,
        token_id=access.token_id,
    )
    if is_new and view.row.has_rolled_back:
        daemon.guard.check_named(now=now)
    if not is_new:
        response.status_code = HTTPStatus.OK
    return report_out(view)


@router.get("/{checkpoint_id}/reports", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_reports(
    checkpoint_id: str, daemon: DaemonDep, cursor: Cursor = None, limit: Limit = 50
) -> ListOut[ReportOut]:
    """List a checkpoint's reports, newest first."""
    views, next_cursor = live_reports.list_reports(
        daemon.db, checkpoint_id, cursor=cursor, limit=limit
    )
    return ListOut(
        data=[report_out(view) for view in views],
        has_more=next_cursor is not None,
        next=next_cursor,
    )
