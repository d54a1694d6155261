"""/v1/instances/{slug}/cycle-figures: the cycles of an instance as figures over time."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter

from app.api.deps import Cursor, DaemonDep, Limit
from app.api.guards.access import GuardedRoute
from app.api.problems import problem_responses
from app.api.schemas import ComparisonOut, CycleFiguresOut, ListOut
from app.db.tables import SleepCycleRow
from app.domain.cycle_report import find
from app.services import sleep

router = APIRouter(prefix="/v1/instances", tags=["instances"], route_class=GuardedRoute)


@router.get("/{slug}/cycle-figures", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_cycle_figures(
    slug: str, daemon: DaemonDep, cursor: Cursor = None, limit: Limit = 50
) -> ListOut[CycleFiguresOut]:
    """What each cycle learned and kept, newest first; a cycle's own route has the rest."""
    page, checkpoint_ids, _ = sleep.list_cycles(
        daemon.db, instance=slug, status=None, cursor=cursor, limit=limit
    )
    return ListOut(
        data=[_figures(row, checkpoint_ids.get(row.id)) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


def _figures(row: SleepCycleRow, checkpoint_id: str | None) -> CycleFiguresOut:
    found = find(row.metrics, row.verdict)
    names = (
        "id", "number", "status", "trigger", "created_at", "started_at", "finished_at", "error",
    )  # fmt: skip
    return CycleFiguresOut(
        **{name: getattr(row, name) for name in names},
        trained=len(row.plan["experience_ids"]),
        checkpoint_id=checkpoint_id,
        verdict=row.verdict["status"] if row.verdict else None,
        failed_checks=[check.words for check in found.checks if not check.passed],
        learned=[ComparisonOut(**asdict(item)) for item in found.learned],
        kept=[ComparisonOut(**asdict(item)) for item in found.kept],
    )
