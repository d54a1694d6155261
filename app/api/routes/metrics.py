"""GET /metrics: the figures of all instances for Prometheus."""

from __future__ import annotations

import shutil
from itertools import chain

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.answers.metrics import of_daemon, of_instances, of_mirror, of_webhooks, render
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Now
from app.services.webhooks import count_deliveries

router = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(daemon: DaemonDep, access: AccessDep, now: Now) -> Response:
    """The figures of all instances in the Prometheus text format."""
    instances = of_instances(daemon.figures.read(within=access.instances), now=now)
    about_daemon = of_daemon(
        version=daemon.version,
        uptime_seconds=(now - daemon.started_at).total_seconds(),
        is_worker_alive=daemon.is_worker_alive(),
        free_bytes=shutil.disk_usage(daemon.data_dir).free,
    )
    text = render(chain(instances, about_daemon))
    # What is counted over all instances is no business of a token that is bound to some.
    if access.instances is None:
        text += render(of_webhooks(count_deliveries(daemon.db)))
        text += render(of_mirror(daemon.read_mirror_state()))
        text += generate_latest(daemon.ingest_meter.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
