"""The figures of all instances as metric families of Prometheus.

The names are a promise: the dashboard and the alert rules in docker/ stand on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from app.services.figures import CHECKPOINT_EVENTS, InstanceFigures
from app.services.mirroring import MirrorState

PREFIX = "sage_sleep_"


def render(families: Iterable[Metric]) -> bytes:
    """Families in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


def of_instances(found: Sequence[InstanceFigures], *, now: datetime) -> Iterator[Metric]:
    """What is kept, what runs, what ended, and what the last judged cycle came to."""
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
    yield from _last_cycles(found)


def of_daemon(
    *, version: str, uptime_seconds: float, is_worker_alive: bool, free_bytes: int
) -> Iterator[Metric]:
    """What concerns no instance."""
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


def of_webhooks(counts: Mapping[str, int]) -> Iterator[Metric]:
    """What became of the messages of the last month."""
    family = _gauge(
        "webhook_deliveries", "Messages to webhooks: pending, delivered, dead.", "status"
    )
    for status, count in counts.items():
        family.add_metric([status], count)
    yield family


def of_mirror(state: MirrorState) -> Iterator[Metric]:
    """Whether what other machines may learn reaches them."""
    for name, words, value in (
        ("mirror_waiting", "Checkpoints that the mirror lacks.", float(state.waiting)),
        (
            "mirror_failing",
            "1 while one could not be copied.",
            float(bool(state.fault)),
        ),
    ):
        family = _gauge(name, words)
        family.add_metric([], value)
        yield family


class _Families:
    """A collector of families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        return self._families

    def describe(self) -> Sequence[Metric]:
        """Name none at registration, or they would be collected twice."""
        return ()


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, words, labels=labels)


def _buffers(found: Sequence[InstanceFigures]) -> Iterator[Metric]:
    mass = _gauge("salience_mass", "Salience of what a cycle would train.", "instance")
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
        ("cycle_share", "share", "How far the running cycle is, 0 to 1."),
        ("cycle_remaining_seconds", "remaining_seconds", "What the running cycle will still take."),
        ("cycle_step", "step", "Step of the running cycle."),
        ("cycle_steps", "total_steps", "Steps that the running cycle takes."),
        ("cycle_loss", "loss", "Loss of the running cycle's last step, nats per token."),
        ("cycle_tokens_per_second", "tokens_per_second", "Speed of the running cycle."),
    ):
        family = _gauge(name, words, "instance")
        for item in found:
            value = getattr(item.progress, key, None)
            if value is not None:
                family.add_metric([item.instance], value)
        yield family


def _last_cycles(found: Sequence[InstanceFigures]) -> Iterator[Metric]:
    speed = _gauge("tokens_per_second", "Training speed of the last judged cycle.", "instance")
    memory = _gauge("peak_memory_bytes", "Peak memory of the last judged cycle.", "instance")
    seconds = _gauge("cycle_seconds", "How long the last judged cycle took.", "instance")
    held_out = _gauge("held_out_loss", "Of the last cycle, nats per token.", "instance", "when")
    values = _gauge("gate_value", "What the last cycle's gate measured.", "instance", "check")
    limits = _gauge("gate_limit", "The limit it was held to.", "instance", "check")
    for item in found:
        if (cycle := item.last_cycle) is None:
            continue
        speed.add_metric([item.instance], cycle.tokens_per_second)
        memory.add_metric([item.instance], cycle.peak_memory_bytes)
        seconds.add_metric([item.instance], cycle.seconds)
        held_out.add_metric([item.instance, "before"], cycle.held_out_before)
        held_out.add_metric([item.instance, "after"], cycle.held_out_after)
        for check in cycle.checks:
            values.add_metric([item.instance, check.name], check.value)
            limits.add_metric([item.instance, check.name], check.limit)
    yield from (speed, memory, seconds, held_out, values, limits)
