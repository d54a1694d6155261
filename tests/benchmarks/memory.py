"""Memory of a whole cycle on a CPU, phase by phase: `python -m tests.benchmarks.memory`.

Of each phase its peak of resident memory, what is left of it as the phase ends, and the peak as a
share of the training's. Linux alone counts the peak anew (`/proc/self/clear_refs`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.plan import TrainingJob
from app.domain.progress import Progress
from app.domain.recipe import Recipe
from app.settings import Settings
from app.training.fetching import fetch_embedded_model
from app.training.trainer import LoraTrainer
from tests.benchmarks.recall import CACHE

HELD_OUT_OF = 10
"""One exchange of so many is held out, as at ingest."""

STATUS = Path("/proc/self/status")


class Watch:
    """The peak of resident memory since the last phase began, in MB by phase."""

    def __init__(self, timed: Callable[..., AbstractContextManager[None]]) -> None:
        self._timed = timed
        self.peaks: dict[str, float] = {}
        self.left: dict[str, float] = {}
        self._phase = "before"
        self._forget()

    def enter(self, phase: str) -> None:
        """End the phase that was, and begin one."""
        peak = max(self.peaks.get(self._phase, 0.0), _megabytes("VmHWM"))
        self.peaks[self._phase], self.left[self._phase] = peak, _megabytes("VmRSS")
        self._phase = phase
        self._forget()

    def hear(self, progress: Progress) -> None:
        """A stage is a phase, where no finer one was named."""
        if progress.stage.value != self._phase.partition(":")[0]:
            self.enter(progress.stage.value)

    @contextmanager
    def timed(self, seconds: dict[str, float], name: str) -> Iterator[None]:
        """In place of the job's own: the parts of its stages are phases, too."""
        stage = self._phase.partition(":")[0]
        self.enter(f"{stage}:{name}")
        with self._timed(seconds, name):
            yield
        self.enter(stage)

    @staticmethod
    def _forget() -> None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _megabytes(name: str) -> float:
    line = next(one for one in STATUS.read_text(encoding="ascii").splitlines() if name in one)
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Run one cycle, and print its phases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exchanges", type=int, default=66)
    parser.add_argument("--buffer", type=Path, help="A JSON list with prompt and response each.")
    parser.add_argument("--dtype", help="Of the base; what this CPU computes in without.")
    parser.add_argument("--kept", type=Path, help="Keep the base's references here.")
    parser.add_argument(
        "--keep", action="store_true", help="Give nothing back between phases, as before that."
    )
    parser.add_argument("--out", type=Path, help="For the JSON.")
    told = parser.parse_args()
    model = fetch_embedded_model(CACHE)
    import torch

    from app.training import job as jobs
    from app.training import loading
    from tests.benchmarks.gpu import read_exchanges

    watch = Watch(jobs.timed)
    setattr(jobs, "timed", watch.timed)  # noqa: B010
    if told.keep:
        setattr(jobs, "give_back_memory", lambda: None)  # noqa: B010
    if told.dtype:
        dtype = getattr(torch, told.dtype)
        setattr(loading, "choose_dtype", lambda _device: dtype)  # noqa: B010
    exchanges = read_exchanges(told.exchanges, told.buffer)
    held_out = exchanges[::HELD_OUT_OF]
    with tempfile.TemporaryDirectory() as room:
        output = Path(room) / "adapter"
        output.mkdir()
        job = TrainingJob(
            base_model=str(model),
            parent_adapter=None,
            parent_base_sha256=None,
            output_directory=output,
            system_prompt=SAGE_SYSTEM_PROMPT,
            recipe=replace(Recipe(), device="cpu"),
            train=tuple(one for one in exchanges if one not in held_out),
            held_out=tuple(held_out),
            probe_prompts=Settings().probe_prompts,
            kept_directory=told.kept or Path(room) / "kept",
        )
        LoraTrainer().run(job, on_progress=watch.hear, should_stop=lambda: False)
        watch.enter("end")
    training = watch.peaks["training"]
    print("| phase | peak MB | of training's | MB left |")
    print("|---|---|---|---|")
    for phase, peak in watch.peaks.items():
        print(f"| {phase} | {peak:.0f} | {peak / training:.2f} | {watch.left[phase]:.0f} |")
    if told.out is not None:
        told.out.write_text(json.dumps({"peaks_mb": watch.peaks}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
