"""What the worker calls: a trainer takes a job and gives a report.

Imports torch when a job runs, not before, so that the worker may import this module freely and the
report can say what the imports cost. Must not know the database, checkpoints or verdicts.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Protocol

from app.domain.plan import TrainingJob
from app.domain.progress import Progress, Stage
from app.domain.report import TrainingReport
from app.errors import DeviceFailed, TrainingStopped
from app.training.pulse import heard_by

VISIBLE = "CUDA_VISIBLE_DEVICES"

_MEANWHILE = " SAGE_DEVICE=cpu trains without it meanwhile."

_FAILURES = {
    ("uncorrectable ecc",): (
        "The GPU reported an uncorrectable memory (ECC) error. Look at `nvidia-smi -q -d ECC`, "
        "reset the GPU or restart the machine; if it comes back, replace the card." + _MEANWHILE
    ),
    (
        "fallen off the bus", "gpu is lost", "no cuda-capable device", "unspecified launch",
        "cuda error: unknown error", "unable to determine the device handle",
    ): (
        "The GPU no longer answers. Look at `dmesg` for lines with NVRM or Xid (79 is a device "
        "that fell off the bus), check its power and its slot, and restart the machine."
        + _MEANWHILE
    ),
    ("illegal memory access", "illegal instruction", "device-side assert", "misaligned address"): (
        "The GPU ended the training with an error of a kernel. Try another version of torch or of "
        "the driver if it comes back." + _MEANWHILE
    ),
}  # fmt: skip
"""What CUDA says of a device that broke down, and what to do about it."""


class Trainer(Protocol):
    """What the worker needs of a trainer."""

    def run(
        self,
        job: TrainingJob,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingReport:
        """Train one adapter into `job.output_directory`.

        Calls `on_progress` often, also where nothing changed since the last call: it is the sign
        that the work goes on.

        Raises: TrainingError, ArtifactError.
        """


class LoraTrainer:
    """Trains LoRA adapters with `TrainingLoop`, in this process.

    Before torch is first imported, OpenMP is told to sleep instead of spin at its barriers, unless
    OMP_WAIT_POLICY says otherwise: with another busy process on 2 cores a bf16 product of
    800 x 576 x 1536 took 14 ms spinning and 7 ms sleeping, and the cores are free for the daemon.
    """

    def run(
        self,
        job: TrainingJob,
        *,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingReport:
        """Train one adapter into `job.output_directory` and measure what it does.

        One that was trained elsewhere (`job.adopted_adapter`) is only measured.

        A parent adapter keeps its own r, lora_alpha and target_modules, whatever the recipe says:
        a changed default must not stop an instance from sleeping. `environment["adapter"]` tells
        the geometry that was trained.

        With nothing held out both losses are 0 over 0 tokens, and the effect is measured on
        training examples. The effect is measured in fp32 on a few examples; see `fp32_forward`.

        Raises:
            BaseModelNotFound, ChatTemplateMissing: About the base.
            BaseModelMismatch: The parent was trained on another base.
            CheckpointFilesMissing, NoTrainableParameters: About the adapter.
            NoSupervisedTokens, NonFiniteLoss: About the training set and the training.
            DeviceFailed: The device broke down; nothing is published.
            TrainingStopped: `should_stop` said so.
        """
        on_progress(Progress(stage=Stage.LOADING))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Read when CUDA starts: without it cuBLAS adds in another order from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        device = narrow_to(job.recipe.device)
        if device != job.recipe.device:
            job = replace(job, recipe=replace(job.recipe, device=device))
        started = time.monotonic()
        run_job = _import_job().run_job
        if job.adopted_adapter is not None:
            run_job = import_module("app.training.adoption").measure_adopted
        imports_seconds = time.monotonic() - started
        spoken = _Spoken(on_progress, should_stop)
        with heard_by(spoken.repeat), device_failures_named():
            report: TrainingReport = run_job(
                job, on_progress=spoken, should_stop=should_stop, imports_seconds=imports_seconds
            )
        return report


def narrow_to(device: str) -> str:
    """Let this process see one CUDA device alone, and return what that is called here then.

    So that nothing that it imports takes memory on another; of no effect once CUDA has started.
    """
    torch = sys.modules.get("torch")
    if not (device == "auto" or device.startswith("cuda")) or (
        torch is not None and torch.cuda.is_initialized()
    ):
        return device
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get(VISIBLE)
    numbers = [str(number)] * (number + 1) if visible is None else visible.split(",")
    if number >= len(numbers):
        return device  # there is none of that number; it is said where it is looked for
    os.environ[VISIBLE] = numbers[number]
    return "auto" if device == "auto" else "cuda"


@contextmanager
def device_failures_named() -> Iterator[None]:
    """Say what to do about a device that breaks down. Raises: DeviceFailed."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).lower()
        for signs, message in _FAILURES.items():
            if any(sign in words for sign in signs):
                raise DeviceFailed(message) from error
        raise


class _Spoken:
    """What was told of the progress last, told again at every beat between."""

    def __init__(
        self, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> None:
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._latest = Progress(stage=Stage.LOADING)

    def __call__(self, progress: Progress) -> None:
        self._latest = progress
        self._on_progress(progress)

    def repeat(self) -> None:
        """Say that the work goes on.

        Raises: TrainingStopped; but not in training, whose loop stops at a step, where it can keep
            a snapshot.
        """
        if self._latest.stage is not Stage.TRAINING and self._should_stop():
            raise TrainingStopped(f"stopped in {self._latest.stage.value}")
        self._on_progress(self._latest)


def _import_job() -> ModuleType:
    """Import torch, transformers and peft with the cycle collector off.

    What they make stays, yet the collector walks all of it again and again. Off during the imports
    and frozen after them: 2.8 s instead of 3.8 s, and 0.8 s instead of 1.0 s for loading the
    embedded model (medians of 6 on 2 cores; test_night prints what both take).
    """
    gc.disable()
    try:
        module = import_module("app.training.job")
        gc.freeze()
    finally:
        gc.enable()
    return module
