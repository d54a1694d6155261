"""/v1/sleep-cycles: asking for sleep, watching it, cancelling it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.client.decoding import Page, page_reader, reader
from app.client.flows import Emit, Emitting, Flow, Pause, Request, segment
from app.client.results import CycleReport, SleepCycle, SleepPreview
from app.client.sending import call

FOLLOW_INTERVAL_SECONDS = 0.5


def request_sleep(
    instance: str = "default",
    *,
    force: bool = False,
    overrides: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Flow[SleepCycle]:
    """Ask for a sleep cycle; `force` skips the waiting rules, never the gate.

    Args:
        overrides: Hyper-parameters for this one cycle.
        idempotency_key: To ask again across restarts of the session; by default one per call.

    Raises: RequestRefused, with the reasons, when sleep is not due or a cycle is active.
    """
    body = {"instance": instance, "force": force, "overrides": dict(overrides or {})}
    request = Request(
        method="POST",
        path="/v1/sleep-cycles",
        body=body,
        headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
    )
    return call(request, reader(SleepCycle))


def preview_sleep(
    instance: str = "default", *, force: bool = False, overrides: Mapping[str, Any] | None = None
) -> Flow[SleepPreview]:
    """Return what a cycle would train on now; nothing starts."""
    body = {"instance": instance, "force": force, "overrides": dict(overrides or {})}
    request = Request(method="POST", path="/v1/sleep-cycles", body={**body, "dry_run": True})
    return call(request, reader(SleepPreview))


def get_sleep_cycle(cycle_id: str) -> Flow[SleepCycle]:
    """Return one cycle: its plan, progress, metrics and verdict."""
    request = Request(method="GET", path=f"/v1/sleep-cycles/{segment(cycle_id)}")
    return call(request, reader(SleepCycle))


def list_sleep_cycles(
    *,
    instance: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Flow[Page[SleepCycle]]:
    """Return one page of cycles, newest first."""
    params = {"instance": instance, "status": status, "cursor": cursor, "limit": limit}
    request = Request(method="GET", path="/v1/sleep-cycles", params=params)
    return call(request, page_reader(SleepCycle))


def follow_sleep_cycle(
    cycle_id: str, *, interval_seconds: float = FOLLOW_INTERVAL_SECONDS
) -> Emitting[SleepCycle]:
    """Yield a cycle each time it is looked at, until and with its end."""
    while True:
        cycle = yield from get_sleep_cycle(cycle_id)
        yield Emit(cycle)
        if cycle.is_ended:
            return
        yield Pause(interval_seconds)


def cancel_sleep_cycle(cycle_id: str) -> Flow[SleepCycle]:
    """Cancel a queued cycle at once, or ask a running one to stop; its experiences go back.

    Sent again only if it never arrived: a second one would be refused, since the cycle has ended.
    """
    path = f"/v1/sleep-cycles/{segment(cycle_id)}/cancel"
    request = Request(method="POST", path=path, is_repeatable=False)
    return call(request, reader(SleepCycle))


def get_cycle_report(cycle_id: str) -> Flow[CycleReport]:
    """Return what a cycle learned and kept, the gate's verdict, and replies side by side."""
    request = Request(
        method="GET", path=f"/v1/sleep-cycles/{segment(cycle_id)}/report", params={"format": "json"}
    )
    return call(request, reader(CycleReport))
