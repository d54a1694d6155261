"""Trainings of real exchanges on the embedded model, measured: what the recipe's numbers rest on.

Knows nothing of pytest, the daemon or targets; `test_recipe.py` prints what is measured here.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.policy import SleepPolicy
from app.domain.recipe import Recipe
from app.older import RaisingTrainingDataBuilder
from app.training.anchors import (
    References,
    ReferenceSet,
    load_or_make_references,
    mixed,
)
from app.training.evaluate import (
    base_retention,
    held_out_gain,
    held_out_loss,
    measure_retention,
    token_log_probabilities,
)
from app.training.examples import TrainingExample
from app.training.kept import KeptFiles
from app.training.loading import BaseModel, load_base_model
from app.training.loop import TrainingLoop
from app.training.lora import detach_adapter
from app.training.models import base_sha256
from app.training.rehearsal import choose_surprising

MIN_SALIENCE = 0.6
TRAINED_SHARE = 0.8
REHEARSAL_CHOICE = 2


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An adapter against the bare base; nats per token.

    Attributes:
        gain: By how much the held-out loss fell.
        gain_error: Standard error of that difference over experiences.
        general: By how much the loss on general pairs rose; they are neither anchors nor trained.
        general_kl: KL(base || model) on them.
        seconds: Of the training alone.
        cpu_seconds: Of all its threads: what other processes do to the wall time is not in it.
    """

    before: float
    gain: float
    gain_error: float
    general: float
    general_kl: float
    anchor_kl: float
    session_general: float
    session_kl: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The bare base, its references, and what it makes of the held-out examples."""

    base: BaseModel
    bare: References
    in_session: References

    @classmethod
    def load(cls, model: Path, kept: Path) -> Yardstick:
        """Load a base, and make its references where none are kept."""
        base = load_base_model(str(model))
        files = KeptFiles(kept, base_sha256(str(model)))
        bare = load_or_make_references(base, files)
        in_session = load_or_make_references(base, files, (SAGE_SYSTEM_PROMPT,))
        return cls(base=base, bare=bare, in_session=in_session)

    def anchors(self, recipe: Recipe) -> ReferenceSet:
        """What a cycle trains beside."""
        return mixed(self.bare.anchors, self.in_session.anchors, recipe.anchor_identity_share)


def read_by_time(files: Sequence[Path], model: Path) -> list[TrainingExample]:
    """The salient exchanges of some buffer files, each file in order of time."""
    examples = []
    for file in files:
        stored = json.loads(file.read_text(encoding="utf-8"))
        records = stored["experiences"] if isinstance(stored, dict) else stored
        when = {record["id"]: record["timestamp"] for record in records}
        salient = RaisingTrainingDataBuilder(file, model).build_training_set(MIN_SALIENCE)
        examples += sorted(salient, key=lambda example: when[example["experience_id"]])
    return examples


def split_by_time(
    examples: Sequence[TrainingExample],
) -> tuple[list[TrainingExample], list[TrainingExample]]:
    """The first 80 %, most salient first as a cycle trains them, and the rest, held out."""
    cut = int(TRAINED_SHARE * len(examples))
    train = sorted(examples[:cut], key=lambda example: -example["salience"])
    return train, list(examples[cut:])


def train_once(
    model: Path,
    kept: Path,
    recipe: Recipe,
    train: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
) -> Measured:
    """Train a new adapter, two epochs or as the recipe says, and measure it."""
    yardstick = Yardstick.load(model, kept)
    before = token_log_probabilities(yardstick.base, held_out)
    loop = TrainingLoop(model, tempfile.mkdtemp(), recipe=recipe, base=yardstick.base)
    clock = Clock()
    loop.train_on_experiences(train, anchors=yardstick.anchors(recipe))
    return measure(yardstick, before, held_out, clock.read())


def measure(
    yardstick: Yardstick,
    before: torch.Tensor,
    held_out: Sequence[TrainingExample],
    seconds: tuple[float, float],
) -> Measured:
    """Measure the adapter that is attached to a yardstick's base."""
    after = token_log_probabilities(yardstick.base, held_out)
    gain = held_out_gain(before, after, held_out)
    now = measure_retention(yardstick.base, yardstick.bare)
    in_session = measure_retention(yardstick.base, yardstick.in_session)
    return Measured(
        before=held_out_loss(before, held_out).nats_per_token,
        gain=gain.value,
        gain_error=gain.standard_error,
        general=now.general_loss.value - base_retention(yardstick.bare).general_loss.value,
        general_kl=now.general_kl.value,
        anchor_kl=now.anchor_kl.value,
        session_general=in_session.general_loss.value
        - base_retention(yardstick.in_session).general_loss.value,
        session_kl=in_session.general_kl.value,
        seconds=seconds[0],
        cpu_seconds=seconds[1],
    )


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Both, so far."""
        return time.monotonic() - self._started[0], time.process_time() - self._started[1]


class Line:
    """One adapter trained on one slice after another, with rehearsal as a cycle does it."""

    def __init__(
        self,
        model: Path,
        kept: Path,
        recipe: Recipe,
        slices: Sequence[Sequence[TrainingExample]],
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._yardstick = Yardstick.load(model, kept)
        self._parts = [split_by_time(examples) for examples in slices]
        base = self._yardstick.base
        self._before = [token_log_probabilities(base, held_out) for _, held_out in self._parts]
        self._loop = self._new_loop()
        self._store: list[TrainingExample] = []

    def sleep(self, number: int) -> tuple[Measured, Measured]:
        """Train on a slice; how far the adapter is on that slice's held-out part, and the first's.

        Call it with 0, 1, 2 and so on.
        """
        train, _ = self._parts[number]
        clock = Clock()
        wanted = min(round(self._recipe.rehearsal_share * len(train)), len(self._store))
        drawn = random.Random(number).sample(  # noqa: S311  # a draw, not a secret
            self._store, min(REHEARSAL_CHOICE * wanted, len(self._store))
        )
        rehearsed = choose_surprising(self._yardstick.base, drawn, wanted)
        self._train([*train, *rehearsed])
        seconds = clock.read()
        self._store += train
        return self._measure([number], seconds), self._measure([0], seconds)

    def rebuild(self) -> tuple[Measured, Measured]:
        """Train a new adapter on the most salient of all slices so far.

        Returns:
            How far it is on the first slice's held-out part, and on all of them.
        """
        detach_adapter(self._loop.adapted)
        self._loop = self._new_loop()
        store = sorted(self._store, key=lambda example: -example["salience"])
        clock = Clock()
        self._train(store[: SleepPolicy().max_experiences])
        seconds = clock.read()
        return self._measure([0], seconds), self.measure_all(seconds)

    def measure_all(self, seconds: tuple[float, float] = (0.0, 0.0)) -> Measured:
        """How far the adapter is on the held-out parts of all slices together."""
        return self._measure(range(len(self._parts)), seconds)

    def _new_loop(self) -> TrainingLoop:
        return TrainingLoop(
            self._model, tempfile.mkdtemp(), recipe=self._recipe, base=self._yardstick.base
        )

    def _train(self, examples: Sequence[TrainingExample]) -> None:
        self._loop.train_on_experiences(
            examples, anchors=self._yardstick.anchors(self._loop.recipe)
        )

    def _measure(self, numbers: Sequence[int], seconds: tuple[float, float]) -> Measured:
        before = torch.cat([self._before[number] for number in numbers])
        held_out = [example for number in numbers for example in self._parts[number][1]]
        return measure(self._yardstick, before, held_out, seconds)
