"""The live view: what a frame shows, and how a loss becomes a line of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from app.cli.frame import Frame, draw
from app.client import InstanceStats, Progress
from app.client.wire import decode
from app.follow import LossCurve, sparkline
from tests.cli.conftest import Command
from tests.support import RunningDaemon


def progress(**data: Any) -> Progress:
    return decode(Progress, {"stage": "training", **data})


def stats(slug: str, *, cycle: Mapping[str, Any] | None = None) -> InstanceStats:
    reason = {"rule": "mass", "met": False, "text": "mass 5.0 of 20.0"}
    cycle_fields = ("trigger", "created_at", "started_at", "finished_at", "error")
    empty = dict.fromkeys((*cycle_fields, "held_out_before", "held_out_after"))
    running = {**empty, "trigger": "request", "created_at": "2026-01-01T00:00:00+00:00"}
    return decode(
        InstanceStats,
        {
            "instance": slug,
            "counts": {"buffered": 7},
            "mass": 5.0,
            "mass_threshold": 20.0,
            "decision": {
                "due": False, "mass": 5.0, "mass_threshold": 20.0, "count": 7, "reasons": [reason],
            },
            "salience_averages": None,
            "last_exchange_at": None,
            "last_cycle": None,
            "running_cycle": {**running, **cycle} if cycle else None,
            "current_checkpoint": None,
        },
    )  # fmt: skip


def shown(frame: Frame, *, height: int | None = None) -> str:
    console = Console(width=120, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(draw(frame, height=height))
    return capture.get()


def frame(*instances: InstanceStats, **values: Any) -> Frame:
    return Frame(
        **{
            "url": "http://here",
            "version": "1",
            "uptime_seconds": 7200.0,
            "instances": instances,
            "curves": {},
            "events": (),
            **values,
        }
    )


def test_once_shows_instances_their_state_and_events(
    daemon: RunningDaemon, command: Command
) -> None:
    daemon.http.put("/v1/instances/sprout-a", json={})
    cycle = daemon.http.post("/v1/sleep-cycles", json={"force": True}).json()
    daemon.wait_for_cycle(cycle["id"])
    text = command("watch", "--once")
    assert "2 instances" in text
    assert "sprout-a" in text
    assert "of 20" in text
    assert "sleep_cycle.failed" in text
    assert "default" not in command("watch", "--once", "-i", "sprout-a")
    command("watch", "--once", "-i", "nobody", code=1)


def test_running_cycle_shows_its_loss_as_it_falls() -> None:
    curve = LossCurve()
    for step in range(1, 9):
        curve.take(progress(step=step, total_steps=9, loss=4.0 - step / 10))
        curve.take(progress(step=step, total_steps=9, loss=4.0 - step / 10))
    assert curve.picture() == "█▇▆▅▄▃▂▁"
    state = {"stage": "training", "share": 0.62, "remaining_seconds": 75.0}
    cycle = {"id": "C", "number": 3, "status": "training", "progress": state}
    text = shown(frame(stats("a", cycle=cycle), stats("b"), curves={"C": curve}))
    assert (
        "a cycle 3: 62%, about 1 min 15 s left: training, step 8 of 9, loss 3.200 █▇▆▅▄▃▂▁" in text
    )
    assert "5.0 of 20" in text
    assert "mass 5.0 of 20.0" in text


def test_what_does_not_fit_is_counted() -> None:
    text = shown(frame(*(stats(f"i{n:02}") for n in range(40))), height=20)
    assert "i13" in text
    assert "i14" not in text
    assert "and 26 more" in text


def test_daemon_that_went_away_is_said_beside_what_was_seen() -> None:
    text = shown(frame(stats("a"), problem="No daemon answers."))
    assert "No daemon answers." in text
    assert "a" in text


@given(st.lists(st.floats(0, 100), max_size=200), st.integers(1, 40))
def test_line_of_blocks_fits_and_keeps_the_ends_apart(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    if len(set(values)) > 1 and len(values) <= width:
        assert {"▁", "█"} <= set(line)
