"""One frame of `sage-sleep watch`: values in, a picture of text out. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.client import Event, InstanceStats
from app.domain.decision import in_words
from app.follow import LossCurve, how_far

ROWS_AROUND = 6
"""Lines of a frame besides instances, cycles and events."""

MIN_INSTANCES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event, and whose it is."""

    instance: str
    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What there is to see at one moment; instances stand in the order they are shown.

    `problem` says why the daemon could not be asked again: then all of it is from before.
    """

    url: str
    version: str
    uptime_seconds: float
    instances: Sequence[InstanceStats]
    curves: Mapping[str, LossCurve]
    events: Sequence[EventLine]
    problem: str | None = None


def draw(frame: Frame, *, height: int | None) -> RenderableType:
    """The frame as text.

    Args:
        height: Lines of the terminal; instances that do not fit are counted. None for all.
    """
    title = Text(
        f"SAGE Sleep {frame.version} at {frame.url}, up {in_words(frame.uptime_seconds)}, "
        f"{len(frame.instances)} instance{'' if len(frame.instances) == 1 else 's'}",
        style="bold",
    )
    shown = list(frame.instances)
    if height is not None:
        room = height - ROWS_AROUND - len(frame.curves) - len(frame.events)
        shown = shown[: max(MIN_INSTANCES_SHOWN, room)]
    parts: list[RenderableType] = [title, _instances(shown)]
    if hidden := len(frame.instances) - len(shown):
        parts.append(Text(f"... and {hidden} more; `sage-sleep stats` lists all.", style="dim"))
    parts += [
        Text(f"{item.instance} cycle {item.running_cycle.number}: {_cycle_words(item, frame)}")
        for item in shown
        if item.running_cycle is not None
    ]
    parts.append(Text())
    parts += [_event(line) for line in frame.events]
    if frame.problem is not None:
        parts.append(Text(frame.problem, style="red"))
    elif not frame.events:
        parts.append(Text("No event yet: post an exchange, or run `sage-sleep sleep --force`."))
    return Group(*parts)


def _instances(shown: Sequence[InstanceStats]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("instance", "mass", "", "waiting", "state", "checkpoint"):
        table.add_column(name, overflow="fold" if name == "instance" else "ellipsis", no_wrap=True)
    for item in shown:
        table.add_row(
            Text(item.instance),
            ProgressBar(total=item.mass_threshold, completed=item.mass, width=20),
            f"{item.mass:.1f} of {item.mass_threshold:g}",
            str(item.counts.get("buffered", 0)),
            Text(_state(item)),
            Text(
                item.current_checkpoint.name.rpartition("/")[2]
                if item.current_checkpoint
                else "base"
            ),
        )
    return table


def _state(item: InstanceStats) -> str:
    if item.running_cycle is not None:
        return item.running_cycle.status
    if item.decision.due:
        return "sleep is due"
    waiting = [reason.text for reason in item.decision.reasons if not reason.met]
    return waiting[0] if waiting else "awake"


def _cycle_words(item: InstanceStats, frame: Frame) -> str:
    cycle = item.running_cycle
    if cycle is None or cycle.progress is None or cycle.status == "queued":
        return "queued"
    curve = frame.curves.get(cycle.id)
    if curve is None:
        curve = LossCurve()
        curve.take(cycle.progress)
    return f"{how_far(cycle.progress)}: {curve.words}"


def _event(line: EventLine) -> Text:
    facts = ", ".join(
        f"{name} {_shown(value)}"
        for name, value in line.event.data.raw.items()
        if isinstance(value, int | float | str)
    )
    words = f"{line.event.at:%H:%M:%S} {line.instance} {line.event.type} {facts}"
    # One line, whatever a fact holds.
    return Text(" ".join(words.split()), no_wrap=True, overflow="ellipsis")


def _shown(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
