"""GET /metrics: the figures of all instances for Prometheus.

The names are a promise: the dashboard and the alert rules in docker/ stand on them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric

from app.api.cycle_texts import Families
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Now
from app.services.figures import CHECKPOINT_EVENTS, CycleFigures, InstanceFigures

router = APIRouter(tags=["operations"], route_class=GuardedRoute)

PREFIX = "sage_sleep_"


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(daemon: DaemonDep, access: AccessDep, now: Now) -> Response:
    """The figures of all instances in the Prometheus text format."""
    found = daemon.figures.read(within=access.instances)
    registry = CollectorRegistry()
    registry.register(Families(_of_instances(found, now=now)))
    registry.register(
        Families(
            _of_daemon(
                version=daemon.version,
                uptime_seconds=(now - daemon.started_at).total_seconds(),
                is_worker_alive=daemon.is_worker_alive(),
                free_bytes=shutil.disk_usage(daemon.data_dir).free,
            )
        )
    )
    cycles = [(item.instance, item.last_cycle) for item in found if item.last_cycle is not None]
    text = generate_latest(registry) + daemon.cycle_texts.render(cycles, _last_cycle)
    # What came in is counted over all instances: no business of a token that is bound to some.
    if access.instances is None:
        text += generate_latest(daemon.ingest_meter.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, words, labels=labels)


def _of_daemon(
    *, version: str, uptime_seconds: float, is_worker_alive: bool, free_bytes: int
) -> Iterator[Metric]:
    info = InfoMetricFamily(PREFIX + "daemon", "The daemon.")
    info.add_metric([], {"version": version})
    yield info
    for name, words, value in (
        ("worker_up", "1 while the worker slot is served.", float(is_worker_alive)),
        ("uptime_seconds", "Since the daemon started.", uptime_seconds),
        ("data_free_bytes", "Free where the data directory lies.", float(free_bytes)),
    ):
        family = _gauge(name, words)
        family.add_metric([], value)
        yield family


def _of_instances(found: Sequence[InstanceFigures], *, now: datetime) -> Iterator[Metric]:
    yield from _buffers(found)
    yield from _running_cycles(found)
    since = _gauge(
        "seconds_since_last_success", "Since a cycle last succeeded; none before.", "instance"
    )
    cycles = CounterMetricFamily(
        PREFIX + "cycles", "Sleep cycles that ended, by outcome.", labels=("instance", "outcome")
    )
    checkpoints = CounterMetricFamily(
        PREFIX + "checkpoint_events", "What happened to checkpoints.", labels=("event",)
    )
    for item in found:
        if item.last_success_at is not None:
            since.add_metric([item.instance], (now - item.last_success_at).total_seconds())
        for outcome, count in item.outcomes.items():
            cycles.add_metric([item.instance, outcome], count)
    for event in CHECKPOINT_EVENTS:
        checkpoints.add_metric([event], sum(item.checkpoint_events[event] for item in found))
    yield from (since, cycles, checkpoints)


def _buffers(found: Sequence[InstanceFigures]) -> Iterator[Metric]:
    mass = _gauge("salience_mass", "Unconsolidated mass.", "instance")
    threshold = _gauge("mass_threshold", "Mass at which sleep is due.", "instance")
    counts = _gauge("experiences", "Experiences by status.", "instance", "status")
    for item in found:
        mass.add_metric([item.instance], item.mass)
        threshold.add_metric([item.instance], item.mass_threshold)
        for status, count in item.counts.items():
            counts.add_metric([item.instance, status], count)
    yield from (mass, threshold, counts)


def _running_cycles(found: Sequence[InstanceFigures]) -> Iterator[Metric]:
    active = _gauge("cycle_active", "1 while a cycle is queued or running.", "instance")
    for item in found:
        active.add_metric([item.instance], float(item.has_active_cycle))
    yield active
    for name, key, words in (
        ("cycle_step", "step", "Step of the running cycle."),
        ("cycle_steps", "total_steps", "Steps that the running cycle takes."),
        ("cycle_loss", "loss", "Loss of the running cycle's last step, nats per token."),
        ("cycle_tokens_per_second", "tokens_per_second", "Speed of the running cycle."),
    ):
        family = _gauge(name, words, "instance")
        for item in found:
            value = (item.progress or {}).get(key)
            if value is not None:
                family.add_metric([item.instance], value)
        yield family


def _last_cycle(instance: str, cycle: CycleFigures) -> Iterator[Metric]:
    for name, value, words in (
        ("tokens_per_second", cycle.tokens_per_second, "Training speed of the last judged cycle."),
        ("peak_memory_bytes", cycle.peak_memory_bytes, "Peak memory of the last judged cycle."),
        ("cycle_seconds", cycle.seconds, "How long the last judged cycle took."),
    ):
        family = _gauge(name, words, "instance")
        family.add_metric([instance], value)
        yield family
    held_out = _gauge("held_out_loss", "Of the last cycle, nats per token.", "instance", "when")
    held_out.add_metric([instance, "before"], cycle.held_out_before)
    held_out.add_metric([instance, "after"], cycle.held_out_after)
    values = _gauge("gate_value", "What the last cycle's gate measured.", "instance", "check")
    limits = _gauge("gate_limit", "The limit it was held to.", "instance", "check")
    for check in cycle.checks:
        values.add_metric([instance, check.name], check.value)
        limits.add_metric([instance, check.name], check.limit)
    yield from (held_out, values, limits)
