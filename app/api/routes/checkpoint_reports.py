"""/v1/checkpoints/{id}/reports: what live sessions found of a checkpoint."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from app.api.deps import Cursor, DaemonDep, IdempotencyKey, Limit, Now
from app.api.guards.access import GuardedRoute
from app.api.problems import problem_responses
from app.api.schemas import ListOut, ReportIn, ReportOut
from app.services import live_reports

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=GuardedRoute)


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
    now: Now,
    key: IdempotencyKey = None,
) -> ReportOut:
    """Keep a session's verdict; enough bad ones on the current checkpoint roll it back at once."""
    view, is_new = live_reports.record_report(
        daemon.db,
        live_reports.ReportSubmission(checkpoint_id=checkpoint_id, **body.model_dump()),
        idempotency_key=key,
        defaults=daemon.defaults,
        now=now,
    )
    if is_new and view.row.has_rolled_back:
        daemon.guard.check_named(now=now)
    if not is_new:
        response.status_code = HTTPStatus.OK
    return _report(view)


@router.get("/{checkpoint_id}/reports", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_reports(
    checkpoint_id: str, daemon: DaemonDep, cursor: Cursor = None, limit: Limit = 50
) -> ListOut[ReportOut]:
    """List a checkpoint's reports, newest first."""
    views, next_cursor = live_reports.list_reports(
        daemon.db, checkpoint_id, cursor=cursor, limit=limit, defaults=daemon.defaults
    )
    return ListOut(
        data=[_report(view) for view in views],
        has_more=next_cursor is not None,
        next=next_cursor,
    )


def _report(view: live_reports.ReportView) -> ReportOut:
    row = view.row
    same = set(ReportOut.model_fields) - {"counted", "faults", "rolled_back"}
    return ReportOut(
        **{name: getattr(row, name) for name in same},
        counted=row.move_seq is not None,
        faults=list(view.faults),
        rolled_back=row.has_rolled_back,
    )
