"""A running cycle as a progress bar on a terminal, for the commands that wait for one."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.client import SleepClient, SleepCycle


def follow_cycle(console: Console, client: SleepClient, cycle_id: str) -> SleepCycle:
    """Show a cycle's progress as a bar until it ends; returns the cycle."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Sleep cycle", total=None, words="queued")
        for cycle in client.follow_sleep_cycle(cycle_id):
            state = cycle.progress or {}
            words = state.get("stage", cycle.status).replace("_", " ")
            if state.get("loss") is not None:
                words += f", loss {state['loss']:.3f}"
            if state.get("tokens_per_second"):
                words += f", {state['tokens_per_second']:.0f} tokens/s"
            progress.update(
                task,
                total=state.get("total_steps") or None,
                completed=state.get("step", 0),
                words=words,
            )
        if cycle.status in {"succeeded", "rejected"}:
            progress.update(task, total=1, completed=1, words=cycle.status)
    return cycle
