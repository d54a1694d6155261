"""`sage-sleep watch`: the daemon live on a terminal. How a frame looks is in `frame.py`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated

import typer
from rich.live import Live

from app.cli.asking import CaFile, Token, Url, daemon
from app.cli.frame import EventLine, Frame, draw
from app.cli.terminal import AnyInstance, out
from app.client import DaemonUnavailable, Event, InstanceStats, Progress, SleepClient, Stats
from app.follow import LossCurve

app = typer.Typer()

EVENTS_SHOWN = 8
INSTANCES_WITH_EVENTS = 12
"""Events are asked for of those that stand on top; more would be a request each, every time."""

CURVE_EVENTS = 500


@app.command()
def watch(
    instance: AnyInstance = None,
    interval: Annotated[
        float, typer.Option(min=0.2, help="Seconds between two looks at the daemon.")
    ] = 2.0,
    once: Annotated[bool, typer.Option(help="Print one frame and end, for scripts.")] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Watch instances, running cycles and events until Ctrl-C, through restarts of the daemon."""
    with daemon(url, token, ca_file) as client:
        view = View(client, instance)
        if once:
            out.print(draw(view.look(), height=None))
            return
        try:
            with Live(console=out, screen=out.is_terminal, auto_refresh=False) as live:
                frame = view.look()
                while True:
                    live.update(draw(frame, height=out.height), refresh=True)
                    time.sleep(interval)
                    try:
                        frame = view.look()
                    except DaemonUnavailable as error:
                        frame = replace(frame, problem=str(error))
        except KeyboardInterrupt:
            return


class View:
    """What was seen so far: the curves of running cycles and the last events."""

    def __init__(self, client: SleepClient, instance: str | None) -> None:
        self._client = client
        self._instance = instance
        self._curves: dict[str, LossCurve] = {}
        self._read_up_to: dict[str, int] = {}
        self._events: deque[EventLine] = deque(maxlen=EVENTS_SHOWN)
        self._last_event: dict[str, int] = {}

    def look(self) -> Frame:
        """Ask the daemon, and return what it says."""
        stats = self._stats()
        found = sorted(stats.instances, key=_rank)
        running = [item.running_cycle for item in found if item.running_cycle]
        for ended in self._curves.keys() - {cycle.id for cycle in running}:
            del self._curves[ended], self._read_up_to[ended]
        for cycle in running[:INSTANCES_WITH_EVENTS]:
            self._read_curve(cycle.id)
            if cycle.progress is not None:  # newer than the last that the log has
                self._curves[cycle.id].take(cycle.progress)
        self._read_events(found[:INSTANCES_WITH_EVENTS])
        return Frame(
            url=self._client.url,
            version=stats.version,
            uptime_seconds=stats.uptime_seconds,
            instances=found,
            curves=dict(self._curves),
            events=tuple(self._events),
        )

    def _stats(self) -> Stats:
        if self._instance is not None:
            return self._client.get_stats(self._instance)
        return self._client.get_all_stats()

    def _read_curve(self, cycle_id: str) -> None:
        curve = self._curves.setdefault(cycle_id, LossCurve())
        after = self._read_up_to.get(cycle_id, 0)
        while True:
            page = self._client.list_sleep_cycle_events(cycle_id, after=after, limit=CURVE_EVENTS)
            for event in page.data:
                after = event.id
                if isinstance(event.data, Progress):
                    curve.take(event.data)
            if not page.has_more:
                break
        self._read_up_to[cycle_id] = after

    def _read_events(self, instances: Iterable[InstanceStats]) -> None:
        fresh: list[EventLine] = []
        for item in instances:
            events = self._newest(item.instance)
            known = self._last_event.get(item.instance, 0)
            fresh += [EventLine(item.instance, event) for event in events if event.id > known]
            if events:
                self._last_event[item.instance] = events[0].id
        self._events.extend(sorted(fresh, key=lambda line: line.event.id))

    def _newest(self, slug: str) -> tuple[Event, ...]:
        page = self._client.list_instance_events(
            slug, progress=False, newest_first=True, limit=EVENTS_SHOWN
        )
        return page.data


def _rank(item: InstanceStats) -> tuple[bool, float, str]:
    """Those that sleep first, then those that are nearest to it."""
    share = item.mass / item.mass_threshold if item.mass_threshold else 0.0
    return item.running_cycle is None, -share, item.instance
