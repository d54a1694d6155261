"""What operators and their machines look at: /stats, /healthz, /readyz."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.answers.instances import active_cycle_out, instance_stats_out
from app.api.daemon import Daemon, DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Cursor, Limit, Now
from app.api.problems import problem_responses
from app.api.schemas import DiskOut, HealthOut, ReadyOut, StatsOut
from app.errors import DatabaseUnavailable
from app.services import clock_trust, readiness, stats

router = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/stats", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_stats(
    daemon: DaemonDep,
    access: AccessDep,
    now: Now,
    instance: str | None = None,
    q: Annotated[
        str | None, Query(min_length=1, max_length=128, description="Part of the name.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> StatsOut:
    """Instances at a glance, by name: counts, mass, decision, cycles, checkpoint."""
    if instance is not None:
        access.require_instance(instance)
    found = stats.collect_stats(
        daemon.db,
        instance=instance,
        within=access.instances,
        name_part=q,
        now=now,
        after=cursor,
        limit=limit + 1,
    )
    has_more = len(found) > limit
    found = found[:limit]
    overview = stats.overlook(daemon.db, instance=instance, within=access.instances, name_part=q)
    return StatsOut(
        version=daemon.version,
        started_at=daemon.started_at,
        uptime_seconds=(now - daemon.started_at).total_seconds(),
        refuses_writes=daemon.db.refusal,
        clock_doubt=_find_clock_doubt(daemon, now),
        health=_look(daemon),
        disk=DiskOut(
            **asdict(readiness.measure_disk(daemon.db, data_dir=daemon.data_dir)),
            checkpoints_bytes=overview.checkpoints_bytes,
        ),
        active=[active_cycle_out(row, slug) for slug, row in overview.active],
        instance_count=overview.instance_count,
        instances=[instance_stats_out(item) for item in found],
        has_more=has_more,
        next=found[-1].instance if has_more else None,
    )


def _find_clock_doubt(daemon: Daemon, now: datetime) -> str | None:
    """What the database is damaged in is no reason to say nothing of all the rest."""
    try:
        return clock_trust.find_doubt(daemon.db, now=now)
    except DatabaseUnavailable:
        return None


@router.get("/healthz")
async def get_health(daemon: DaemonDep) -> HealthOut:
    """The process answers; it takes no thread, so it does even while all of them wait."""
    return HealthOut(version=daemon.version)


@router.get("/readyz", responses={503: {"description": "Not ready.", "model": ReadyOut}})
def get_readiness(response: Response, daemon: DaemonDep) -> ReadyOut:
    """Whether the daemon can do its job, and if not, what is wrong; anyone may ask.

    So the words hold no path and nothing of an instance.
    """
    found = _look(daemon)
    if found.status == "unavailable":
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return found


def _look(daemon: Daemon) -> ReadyOut:
    checks = readiness.look(
        daemon.db, data_dir=daemon.data_dir, is_worker_alive=daemon.is_worker_alive()
    )
    return ReadyOut(status=readiness.judge(checks), checks=checks)
