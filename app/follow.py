"""A running cycle in words, for the commands that wait for one.

On a terminal a bar that moves; in a log or a pipe a line whenever something changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.client import Event, SleepClient, SleepCycle
from app.client import Progress as CycleProgress
from app.domain.decision import in_words

_LEVELS = "▁▂▃▄▅▆▇█"

_LINE_EVERY = 0.1
"""Of a cycle, in a log, where its stage does not change."""


def follow_cycle(console: Console, client: SleepClient, cycle_id: str) -> SleepCycle:
    """Show a cycle's progress live, as its events come, until it ends; returns the cycle."""
    events = client.follow_sleep_cycle_events(cycle_id)
    show = _show_bar if console.is_terminal else _print_lines
    show(console, events)
    return client.get_sleep_cycle(cycle_id)


def how_far(progress: CycleProgress | None) -> str:
    """How far a cycle is as a whole, and how long it will still take."""
    if progress is None:
        return ""
    words = f"{progress.share:.0%}"
    if progress.remaining_seconds is not None:
        words += f", about {in_words(progress.remaining_seconds)} left"
    return words


def _show_bar(console: Console, events: Iterable[Event]) -> None:
    curve = LossCurve()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("Sleep cycle", total=1.0, words="queued")
        for event in events:
            if isinstance(event.data, CycleProgress):
                curve.take(event.data)
                words = f"{how_far(event.data)}: {curve.words}"
                bar.update(task, completed=event.data.share, words=words)
            else:
                bar.update(task, words=f"{_name(event)} {curve.picture()}".strip())


def _print_lines(console: Console, events: Iterable[Event]) -> None:
    curve = LossCurve()
    last: CycleProgress | None = None
    for event in events:
        now = event.data
        if not isinstance(now, CycleProgress):
            words = _name(event)
        else:
            curve.take(now)
            if last and last.stage == now.stage and now.share < last.share + _LINE_EVERY:
                continue
            last = now
            words = f"{how_far(now)}: {curve.words}"
        console.print(f"{event.at:%H:%M:%S} {words}", markup=False, soft_wrap=True)


def _name(event: Event) -> str:
    return event.type.rpartition(".")[2].replace("_", " ")


class LossCurve:
    """The losses of the steps that were told of, and what was told last in words."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._step = 0
        self._last: CycleProgress | None = None

    def take(self, progress: CycleProgress) -> None:
        """Take what is told; the same step told twice counts once."""
        self._last = progress
        if progress.loss is not None and progress.step > self._step:
            self._losses.append(progress.loss)
            self._step = progress.step

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
        if state.stage == "training" and state.total_steps:
            words.append(f"step {state.step} of {state.total_steps}")
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
