"""A running cycle as a progress bar with its loss, for the commands that wait for one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.client import Event, SleepClient, SleepCycle
from app.client import Progress as CycleProgress

PROGRESS_EVENT = "sleep_cycle.progress"

_LEVELS = "▁▂▃▄▅▆▇█"


def follow_cycle(console: Console, client: SleepClient, cycle_id: str) -> SleepCycle:
    """Show a cycle's progress live, as its events come, until it ends; returns the cycle."""
    curve = LossCurve()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Sleep cycle", total=None, words="queued")
        for event in client.follow_sleep_cycle_events(cycle_id):
            if not isinstance(event.data, CycleProgress):
                progress.update(task, words=event.type.rpartition(".")[2])
                continue
            curve.take(event)
            total, step = event.data.total_steps or None, event.data.step
            progress.update(task, total=total, completed=step, words=curve.words)
        cycle = client.get_sleep_cycle(cycle_id)
        if cycle.status in {"succeeded", "rejected"}:
            progress.update(task, total=1, completed=1, words=f"{cycle.status} {curve.picture()}")
    return cycle


class LossCurve:
    """The loss of every step that progress events told of, and the last of them in words."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._step = 0
        self._last: CycleProgress | None = None

    def take(self, event: Event) -> None:
        """Take a progress event; the same step told twice counts once."""
        if not isinstance(event.data, CycleProgress):
            return
        self._last = event.data
        if self._last.loss is not None and self._last.step > self._step:
            self._losses.append(self._last.loss)
            self._step = self._last.step

    def picture(self, width: int = 16) -> str:
        """The curve as a line of blocks."""
        return sparkline(self._losses, width)

    @property
    def words(self) -> str:
        """What the cycle does now."""
        state = self._last
        if state is None:
            return "queued"
        words = [state.stage.replace("_", " ")]
        if state.loss is not None:
            words.append(f"loss {state.loss:.3f} {self.picture()}")
        if state.tokens_per_second:
            words.append(f"{state.tokens_per_second:.0f} tokens/s")
        return ", ".join(words)


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as blocks, low to high; where there are more than fit, means of equal stretches."""
    if not values:
        return ""
    cells = min(width, len(values))
    edges = [len(values) * cell // cells for cell in range(cells + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round(top * (mean - low) / span)] for mean in means)
