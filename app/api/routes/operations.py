"""What operators and their machines look at: /stats, /healthz, /readyz."""

from __future__ import annotations

import os
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.answers.instances import instance_stats_out
from app.api.daemon import Daemon, DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Cursor, Limit, Now
from app.api.problems import problem_responses
from app.api.schemas import HealthOut, ReadyOut, StatsOut
from app.errors import SageSleepError
from app.services import stats

OK = "ok"
DEGRADING_CHECKS = frozenset({"base_model", "disk"})
"""Checks without which exchanges are still taken; any other makes the daemon unavailable."""

MIN_FREE_BYTES = 128 << 20
"""A guess: some checkpoints of the embedded model, and a snapshot."""

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
    return StatsOut(
        version=daemon.version,
        started_at=daemon.started_at,
        uptime_seconds=(now - daemon.started_at).total_seconds(),
        instances=[instance_stats_out(item) for item in found],
        has_more=has_more,
        next=found[-1].instance if has_more else None,
    )


@router.get("/healthz")
async def get_health(daemon: DaemonDep) -> HealthOut:
    """The process answers; it takes no thread, so it does even while all of them wait."""
    return HealthOut(version=daemon.version)


@router.get("/readyz", responses={503: {"description": "Not ready.", "model": ReadyOut}})
def get_readiness(response: Response, daemon: DaemonDep) -> ReadyOut:
    """Whether the daemon can do its job, and if not, what is wrong; anyone may ask.

    So the words hold no path and nothing of an instance.
    """
    checks = {
        "database": _check_database(daemon),
        "data_directory": _check_directory(daemon.data_dir),
        "disk": _check_disk(daemon.data_dir),
        "worker": OK
        if daemon.is_worker_alive()
        else "scheduler, supervisor or ingest writer is not running",
        "base_model": _check_base_model(daemon.db.defaults.base_model),
    }
    failing = {name for name, word in checks.items() if word != OK}
    if failing - DEGRADING_CHECKS:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return ReadyOut(status="unavailable", checks=checks)
    return ReadyOut(status="degraded" if failing else "ready", checks=checks)


def _check_database(daemon: Daemon) -> str:
    try:
        daemon.db.check_migrated()
    except SageSleepError as error:
        return error.message
    failure = daemon.db.failure
    return OK if failure is None else failure.message


def _check_directory(directory: Path) -> str:
    try:
        is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError as error:
        return f"SAGE_DATA_DIR cannot be looked at: {error.strerror}"
    if is_read_only or not os.access(directory, os.W_OK | os.X_OK):
        return "SAGE_DATA_DIR cannot be written to"
    return OK


def _check_disk(directory: Path) -> str:
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return f"SAGE_DATA_DIR cannot be looked at: {error.strerror}"
    if free >= MIN_FREE_BYTES:
        return OK
    return f"{free / 1e6:.0f} MB are free: a cycle may fail, and soon exchanges are refused"


def _check_base_model(base_model: str) -> str:
    """A hub id is loaded from its cache by the child; only a directory can be looked at here."""
    path = Path(base_model)
    if path.is_absolute() and not (path / "config.json").is_file():
        return "it is not on this machine: run `sage-sleep model fetch`, or set SAGE_BASE_MODEL"
    return OK
