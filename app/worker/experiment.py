"""Trainings that are no cycle: a checkpoint made again, a selection compared with chance.

Each runs in a process of its own, at the priority of a cycle, in a scratch directory that goes with
it. The database is read and never written, and nothing is published.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Protocol

from filelock import FileLock, Timeout

from app.artifacts import directories, leftovers
from app.db.engine import Database
from app.domain.base_parts import changed_parts
from app.domain.calibration import Arm, Calibration, ExampleLosses, difference_of, gain_of
from app.domain.checkpoint import MANIFEST_FILE
from app.domain.experience import TrainingExchange
from app.domain.gate import GatePolicy
from app.domain.measurement import Measurement
from app.domain.plan import TrainingJob
from app.domain.progress import Progress
from app.domain.report import TrainingReport
from app.domain.reproduction import Recorded, Reproduction, compare, read_manifest
from app.errors import BaseModelMismatch, ExperimentActive
from app.services import experiments
from app.training.models import fingerprint
from app.training.trainer import Trainer
from app.worker.child import watch_parent, yield_cores


class MeasureAdapters(Protocol):
    """What a calibration needs to measure with; it imports torch when it runs."""

    def __call__(
        self,
        base_model: str,
        adapters: Sequence[Path | None],
        held_out: Sequence[TrainingExchange],
        *,
        system_prompt: str,
        max_length: int,
    ) -> list[ExampleLosses]:
        """The held-out losses with each adapter, None for the bare base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The directories of one experiment.

    Attributes:
        adapters: Empty; for what is trained.
        kept: A copy of what is kept of the bases, so that an experiment starts as a cycle does and
            leaves nothing behind.
    """

    adapters: Path
    kept: Path

    def make_output(self, name: str) -> Path:
        """An empty directory for one adapter."""
        directory = self.adapters / name
        directory.mkdir(parents=True)
        return directory


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedReproduction:
    """A manifest and all that it names, found to be whole."""

    recorded: Recorded
    order: experiments.ReproductionOrder


@contextmanager
def experiment_room(scratch: Path, kept: Path) -> Iterator[Room]:
    """Open the scratch directory; it is emptied before and after, whatever happens between.

    Args:
        scratch: Of this data directory; one experiment at a time holds it.
        kept: What is kept of the bases; copied, never written.

    Raises: ExperimentActive.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    lock = FileLock(scratch / leftovers.EXPERIMENT_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ExperimentActive(
            "Another reproduce or calibrate runs in this data directory; wait for its end."
        ) from error
    try:
        _remove_directories(scratch)  # what a killed one left
        directory = Path(tempfile.mkdtemp(dir=scratch))
        room = Room(adapters=directory / "adapters", kept=directory / "kept")
        _copy_kept(kept, room.kept)
        yield room
    finally:
        _remove_directories(scratch)
        lock.release()


def step_aside(niceness: int) -> None:
    """Go on in a child that yields its cores as a cycle does; the parent ends with its exit code.

    Where Linux schedules by session, only a session's niceness counts, and a command's session is
    the person's shell: hence a child with a session of its own. It dies with the parent, which
    hands signals on. Call it before anything starts a thread.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.dup2(read_end, sys.stdin.fileno())
        os.setsid()
        watch_parent()
        yield_cores(niceness)
        return
    os.close(read_end)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def prepare_reproduction(db: Database, wanted: str, *, root: Path) -> PreparedReproduction:
    """Find a checkpoint by id or name, and check that all that its manifest names is there.

    Raises: CheckpointNotFound, CheckpointFilesMissing, CheckpointFilesAltered,
        CheckpointNotReproducible, SleepCycleActive, BaseModelNotFound, BaseModelMismatch.
    """
    registered = experiments.find_registered(db, wanted)
    manifest_file = [file for file in registered.files if file.name == MANIFEST_FILE]
    directories.verify(root, registered.name, manifest_file)
    text = (root / registered.name / MANIFEST_FILE).read_text(encoding="utf-8")
    recorded = read_manifest(json.loads(text))
    order = experiments.order_reproduction(db, recorded)
    if order.parent is not None:
        directories.verify(root, order.parent.name, order.parent.files)
    found = fingerprint(order.base_model)
    if not found.is_meant_by(recorded.base_sha256, recorded.base_parts):
        changed = "; ".join(changed_parts(recorded.base_parts, found.parts))
        raise BaseModelMismatch(
            f"{recorded.name} was trained on base {recorded.base_sha256[:12]}, and "
            f"{order.base_model} is {found.sha256[:12]} now{': ' if changed else ''}{changed}.",
            recorded_base_sha256=recorded.base_sha256,
            base_sha256=found.sha256,
        )
    return PreparedReproduction(recorded=recorded, order=order)


def reproduce(
    prepared: PreparedReproduction,
    room: Room,
    *,
    root: Path,
    gate: GatePolicy,
    trainer: Trainer,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> Reproduction:
    """Run a manifest again and compare the files.

    Args:
        gate: Any; the scale that the adapter was published at is the manifest's.

    Raises: as `LoraTrainer.run`.
    """
    recorded, order = prepared.recorded, prepared.order
    plan, parent = recorded.plan, order.parent
    job = TrainingJob(
        base_model=order.base_model,
        parent_adapter=root / parent.name if parent else None,
        parent_base_sha256=parent.base_sha256 if parent else None,
        parent_base_parts=parent.base_parts if parent else {},
        output_directory=room.make_output("again"),
        system_prompt=plan.system_prompt,
        recipe=plan.recipe,
        train=order.train,
        held_out=order.held_out,
        probe_prompts=plan.probe_prompts,
        rehearsal_count=plan.rehearsal_count,
        thinking=plan.thinking,
        gate=replace(gate, scales=(recorded.scale,)),
        kept_directory=room.kept,
    )
    report = trainer.run(job, on_progress=on_progress, should_stop=should_stop)
    return compare(recorded, directories.describe_files(job.output_directory), report)


def calibrate(
    order: experiments.CalibrationOrder,
    room: Room,
    *,
    root: Path,
    gate: GatePolicy,
    trainer: Trainer,
    measure: MeasureAdapters,
    on_progress: Callable[[str, Progress], None],
    should_stop: Callable[[], bool],
) -> Calibration:
    """Train on the salient selection and on the control of each seed, and compare what they gained.

    Every adapter stays at full scale: what counts is what its experiences taught.

    Args:
        measure: `app.training.comparison.measure_adapters`.
        on_progress: Told which training it is, too.

    Raises: CheckpointFilesMissing, CheckpointFilesAltered; and as `LoraTrainer.run`.
    """
    plan, parent = order.plan, order.parent
    if parent is not None:
        directories.verify(root, parent.name, parent.files)
    parent_adapter = root / parent.name if parent else None

    def train(name: str, sample: experiments.Sample, seed: int) -> tuple[Path, TrainingReport]:
        job = TrainingJob(
            base_model=plan.base_model,
            parent_adapter=parent_adapter,
            parent_base_sha256=parent.base_sha256 if parent else None,
            parent_base_parts=parent.base_parts if parent else {},
            output_directory=room.make_output(name),
            system_prompt=plan.system_prompt,
            recipe=replace(plan.recipe, seed=seed),
            train=(*sample.exchanges, *order.rehearsal),
            held_out=order.held_out,
            rehearsal_count=plan.rehearsal_count,
            thinking=plan.thinking,
            gate=replace(gate, scales=(1.0,)),
            kept_directory=room.kept,
        )
        report = trainer.run(job, on_progress=partial(on_progress, name), should_stop=should_stop)
        return job.output_directory, report

    salient = [train(f"salient, seed {seed}", order.salient, seed) for seed in order.seeds]
    control = [
        train(f"random, seed {seed}", sample, seed)
        for seed, sample in zip(order.seeds, order.controls, strict=True)
    ]
    before, *after = measure(
        plan.base_model,
        [parent_adapter, *(adapter for adapter, _ in (*salient, *control))],
        order.held_out,
        system_prompt=plan.system_prompt,
        max_length=plan.recipe.max_length,
    )
    of_salient, of_control = after[: len(salient)], after[len(salient) :]
    return Calibration(
        instance=order.instance,
        seeds=order.seeds,
        held_out_experiences=len(before.tokens),
        held_out_tokens=sum(before.tokens),
        salient=_arm(
            [order.salient], [report for _, report in salient], gain_of(before, of_salient)
        ),
        control=_arm(
            order.controls, [report for _, report in control], gain_of(before, of_control)
        ),
        difference=difference_of(of_control, of_salient),
    )


def _arm(
    samples: Sequence[experiments.Sample], reports: Sequence[TrainingReport], gain: Measurement
) -> Arm:
    return Arm(
        experiences=len(samples[0].exchanges),
        mean_salience=fmean(sample.mean_salience for sample in samples),
        supervised_tokens=fmean(report.supervised_tokens for report in reports),
        gain=gain,
        general_kl=fmean(report.measures.after.retention.general_kl.value for report in reports),
    )


def _copy_kept(kept: Path, target: Path) -> None:
    """Whole files only: a cycle beside this writes each under another name first."""
    for file in kept.glob("*/[!.]*"):
        copy = target / file.parent.name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # dropped or forgotten meanwhile
            shutil.copy2(file, copy)


def _remove_directories(scratch: Path) -> None:
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
