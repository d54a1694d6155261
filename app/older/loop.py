"""`SleepTrainingLoop`: the older scripts' sleep in their own process, from a buffer file.

The training is the daemon's (`app.training.loop`), with the recipe that the older scripts had
(preset `gentle`) where no other is named. There is no gate, and every cycle trains on all that is
salient enough: the daemon is what knows better.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from app.artifacts.directories import publish
from app.clock import utc_now
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.presets import PRESET_FIELD, Preset, lay_over
from app.domain.recipe import Recipe
from app.older.buffer import default_buffer_path
from app.older.examples import RaisingTrainingDataBuilder
from app.older.mirroring import copy_all, find_remote
from app.training.examples import TrainingExample
from app.training.loading import BaseModel, load_base_model
from app.training.loop import TrainingLoop, TrainingRun

CYCLE_FILE = "sleep_cycle.json"
"""In every cycle's directory: what `run_sleep_cycle` returned, and what it trained on."""

_CYCLE_NAME = re.compile(r"cycle_(\d+)")


class SleepTrainingLoop:
    """A model that sleeps on what a buffer file holds; each sleep goes on from the one before.

    Args:
        model_path: Directory or hub id of the base; loaded at the first sleep.
        experience_buffer_path: None for `default_buffer_path()`.
        checkpoint_dir: Receives `cycle_001`, `cycle_002`, ..., each a plain PEFT adapter; None for
            `sleep_checkpoints` beside the buffer.
        dropbox_sync: Copy every sleep to the rclone remote that SAGE_MIRROR names; where it names
            none, a warning says so. `synced` in a result says whether all of them are there.
        device: `cpu`, `cuda`, `cuda:1`, ...; None for the best there is.
        system_prompt: Identity prompt in front of every exchange.
        recipe: Hyper-parameters beside those that `run_sleep_cycle` takes.

    Raises:
        InvalidPolicy: `dropbox_sync`, and SAGE_MIRROR is no `name:path`.
    """

    def __init__(
        self,
        model_path: str | Path,
        experience_buffer_path: str | Path | None = None,
        checkpoint_dir: str | Path | None = None,
        dropbox_sync: bool = False,
        device: str | torch.device | None = None,
        *,
        system_prompt: str = SAGE_SYSTEM_PROMPT,
        recipe: Recipe | None = None,
    ) -> None:
        self.model_path = model_path
        self.experience_buffer_path = Path(experience_buffer_path or default_buffer_path())
        self.checkpoint_dir = Path(
            checkpoint_dir or self.experience_buffer_path.parent / "sleep_checkpoints"
        )
        self.dropbox_sync = dropbox_sync
        self._remote = find_remote() if dropbox_sync else None
        self._synced: set[str] = set()
        self.device = None if device is None else torch.device(device)
        self.system_prompt = system_prompt
        self.recipe = recipe or lay_over(Recipe(), {PRESET_FIELD: Preset.GENTLE.value})
        self.training_history = [_read_cycle(path) for _, path in self._cycles()]
        self._loop: TrainingLoop | None = None

    @property
    def sleep_cycle_count(self) -> int:
        """The number of the last sleep; 0 before the first."""
        on_disk = [number for number, _ in self._cycles()]
        return max([0, *on_disk, *(int(cycle["sleep_cycle"]) for cycle in self.training_history)])

    @cached_property
    def base(self) -> BaseModel:
        """The base model, loaded when first asked for; raises as `load_base_model` does."""
        return load_base_model(str(self.model_path), device=self.device)

    def run_sleep_cycle(
        self,
        min_salience: float = 0.6,
        max_experiences: int | None = None,
        epochs: int = 3,
        learning_rate: float = 1e-5,
        batch_size: int = 1,
        save_checkpoint: bool = True,
    ) -> dict[str, Any]:
        """Sleep once on the buffer as it is now.

        Returns:
            `sleep_cycle` (its number), `num_experiences`, `epochs`, `final_loss` (nats per token),
            `avg_salience`, `timestamp`, `checkpoint_path` (None without one). Where nothing is
            salient enough nothing is trained: `num_experiences` 0, `final_loss` NaN, and `status`.

        Raises:
            InvalidImportFile: The buffer cannot be read.
            BaseModelNotFound, ChatTemplateMissing, NonFiniteLoss, NoTrainableParameters.
        """
        builder = RaisingTrainingDataBuilder(
            self.experience_buffer_path, self.model_path, self.system_prompt
        )
        examples = builder.build_training_set(min_salience, max_experiences)
        result: dict[str, Any] = {
            "sleep_cycle": self.sleep_cycle_count,
            "num_experiences": len(examples),
            "epochs": epochs,
            "final_loss": math.nan,
            "avg_salience": builder.get_stats(examples)["avg_salience"],
            "timestamp": utc_now().isoformat(),
            "checkpoint_path": None,
        }
        if not examples:
            return {**result, "epochs": 0, "status": f"no experience of {min_salience} or more"}
        recipe = replace(
            self.recipe, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size
        )
        result["sleep_cycle"] += 1
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.checkpoint_dir, prefix=".sleeping-") as name:
            staged = Path(name) / "adapter"
            result["final_loss"] = self._train(examples, recipe, staged)["final_loss"]
            if save_checkpoint:
                cycle_name = f"cycle_{result['sleep_cycle']:03d}"
                result["checkpoint_path"] = str(self.checkpoint_dir / cycle_name)
            record = {**result, "experience_ids": [e["experience_id"] for e in examples]}
            if save_checkpoint:
                (staged / CYCLE_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")
                publish(self.checkpoint_dir, staged, cycle_name)
        self.training_history.append(record)
        if self.dropbox_sync:
            result["synced"] = self._sync()
        return result

    def train_on_experiences(
        self,
        training_data: Sequence[TrainingExample],
        epochs: int = 3,
        lr: float = 1e-5,
        batch_size: int = 1,
    ) -> TrainingRun:
        """Train the adapter on examples and write it to `checkpoint_dir` itself.

        Raises:
            BaseModelNotFound, ChatTemplateMissing, NoSupervisedTokens, NonFiniteLoss.
        """
        recipe = replace(self.recipe, epochs=epochs, learning_rate=lr, batch_size=batch_size)
        return self._train(training_data, recipe, self.checkpoint_dir)

    def get_training_summary(self) -> dict[str, Any]:
        """What was slept so far; `status` says so where there was nothing."""
        history = self.training_history
        summary: dict[str, Any] = {
            "total_cycles": len(history),
            "total_experiences": sum(cycle["num_experiences"] for cycle in history),
            "latest_loss": history[-1]["final_loss"] if history else None,
            "latest_cycle": history[-1]["sleep_cycle"] if history else None,
            "training_history": [dict(cycle) for cycle in history],
            "checkpoint_dir": str(self.checkpoint_dir),
        }
        return summary if history else {"status": "no sleep yet", **summary}

    def _sync(self) -> bool:
        """Copy what is not in the mirror, also what an outage kept from it; whether all is there.

        What earlier processes copied is read back once.
        """
        names = [path.name for _, path in self._cycles()]
        if self._remote is not None:
            missing = [name for name in names if name not in self._synced]
            self._synced.update(copy_all(self._remote, self.checkpoint_dir, missing))
        return self._synced.issuperset(names)

    def _train(
        self, examples: Sequence[TrainingExample], recipe: Recipe, target: Path
    ) -> TrainingRun:
        if self._loop is None:
            cycles = self._cycles()
            self._loop = TrainingLoop(
                self.model_path,
                target,
                recipe=recipe,
                parent_adapter=cycles[-1][1] if cycles else None,
                base=self.base,
            )
        self._loop.recipe = recipe
        self._loop.checkpoint_dir = target
        return self._loop.train_on_experiences(examples)

    def _cycles(self) -> list[tuple[int, Path]]:
        """The cycles' directories by number: `cycle_1000` comes after `cycle_999`."""
        if not self.checkpoint_dir.is_dir():
            return []
        found = [
            (int(match[1]), path)
            for path in self.checkpoint_dir.iterdir()
            if (match := _CYCLE_NAME.fullmatch(path.name)) and path.is_dir()
        ]
        return sorted(found)


def _read_cycle(directory: Path) -> dict[str, Any]:
    """What a cycle's file says; its number alone where there is none that can be read."""
    match = _CYCLE_NAME.fullmatch(directory.name)
    number = int(match[1]) if match else 0
    unknown = {
        "sleep_cycle": number, "num_experiences": 0, "epochs": 0, "final_loss": math.nan,
        "avg_salience": 0.0, "timestamp": None, "checkpoint_path": str(directory),
    }  # fmt: skip
    try:
        stored = json.loads((directory / CYCLE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return unknown
    return {**unknown, **stored, "sleep_cycle": number} if isinstance(stored, dict) else unknown
