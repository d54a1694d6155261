"""A checkpoint made again: what its manifest asks for, and whether the same came out.

On a CPU the same plan gives the same bytes, so that the SHA-256 of the files tells it all. Where
they differ, the rest of this module says what else differs. Must not know files or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError

from app.domain.base_parts import BaseParts
from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE, CheckpointFile
from app.domain.manifest import MANIFEST_FORMAT, Manifest
from app.domain.plan import CyclePlan
from app.domain.recipe import GONE_FROM_RECIPES, Recipe
from app.domain.report import TrainingReport
from app.domain.stored import from_json
from app.errors import CheckpointNotReproducible

REPRODUCED_FILES = (ADAPTER_FILE, CONFIG_FILE)
_RECIPE_FIELDS = tuple(field.name for field in fields(Recipe))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What a manifest says of its checkpoint, as far as it takes to make it again.

    Attributes:
        scale: What B was multiplied by before it was saved; the gate chose it, and a gate with
            other limits would choose another.
        file_sha256: Of the adapter's files, by name.
        environment: Versions, device, dtype, threads of the training.
        untold: Hyper-parameters that came after this manifest.
    """

    checkpoint_id: str
    name: str
    instance: str
    plan: CyclePlan
    base_sha256: str
    base_parts: BaseParts
    scale: float
    held_out_nats_per_token: float
    file_sha256: Mapping[str, str]
    environment: Mapping[str, str]
    untold: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FileComparison:
    """One file then and now."""

    name: str
    expected_sha256: str
    found_sha256: str

    @property
    def is_equal(self) -> bool:
        """Whether every byte is the same."""
        return self.expected_sha256 == self.found_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentChange:
    """A fact of the environment that is not as it was; None where one side does not tell it."""

    name: str
    then: str | None
    now: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """The outcome of running a manifest again."""

    checkpoint_id: str
    name: str
    files: tuple[FileComparison, ...]
    environment: tuple[EnvironmentChange, ...]
    untold: tuple[str, ...]
    device: str
    held_out_then: float
    held_out_now: float

    @property
    def is_reproduced(self) -> bool:
        """Whether every file came out the same, byte for byte."""
        return all(file.is_equal for file in self.files)

    def describe(self) -> dict[str, Any]:
        """The outcome for programs."""
        return {
            "checkpoint_id": self.checkpoint_id,
            "name": self.name,
            "reproduced": self.is_reproduced,
            "files": [
                {
                    "name": file.name,
                    "equal": file.is_equal,
                    "expected_sha256": file.expected_sha256,
                    "found_sha256": file.found_sha256,
                }
                for file in self.files
            ],
            "environment": [
                {"name": change.name, "then": change.then, "now": change.now}
                for change in self.environment
            ],
            "held_out_nats_per_token": {"then": self.held_out_then, "now": self.held_out_now},
            "explanation": list(self.explanation()),
        }

    def explanation(self) -> tuple[str, ...]:
        """What to know of the outcome, in sentences; the first says whether it is the same."""
        if self.is_reproduced:
            return (f"{self.name} was made again, equal byte for byte.", *self._changes())
        different = " and ".join(file.name for file in self.files if not file.is_equal)
        losses = f"{self.held_out_then:.4f} nats per token then, {self.held_out_now:.4f} now"
        sentences = [f"{self.name} was made again, and {different} differs.", *self._changes()]
        if self.untold:
            sentences.append(
                f"The manifest does not tell {', '.join(self.untold)}, which came later; what held "
                "before was taken."
            )
        if not self.device.startswith("cpu"):
            sentences.append(f"Equal bytes are promised on a CPU, and this ran on {self.device}.")
        elif not (self.environment or self.untold):
            sentences.append(
                "Versions, device and threads are the same: another processor, or another version "
                "of this program."
            )
        return (*sentences, f"Held-out loss {losses}.")

    def _changes(self) -> list[str]:
        return [
            f"{change.name}: {change.then or 'not told'} then, {change.now or 'not told'} now."
            for change in self.environment
        ]


def read_manifest(stored: Mapping[str, Any]) -> Recorded:
    """Read a manifest, of this version or an older one.

    Raises: CheckpointNotReproducible when it is of another format, lacks what is needed, or names
        hyper-parameters that this version does not know.
    """
    try:
        if stored["format"] != MANIFEST_FORMAT:
            raise CheckpointNotReproducible(
                f"The manifest has format {stored['format']}, this version reads {MANIFEST_FORMAT}."
            )
        manifest = from_json(Manifest, stored)
        told = stored["plan"]["recipe"]
        file_sha256 = {name: manifest.files[name].sha256 for name in REPRODUCED_FILES}
    except ValidationError as error:
        lacking = (".".join(str(part) for part in item["loc"]) for item in error.errors())
        raise _lacking(", ".join(lacking)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _lacking(f"{type(error).__name__}: {error}") from error
    if told.get("variations"):
        raise CheckpointNotReproducible(
            f"{manifest.name} was trained on variations ({', '.join(told['variations'])}), which "
            "this version makes no longer."
        )
    if unknown := [name for name in told if name not in (*_RECIPE_FIELDS, *GONE_FROM_RECIPES)]:
        raise CheckpointNotReproducible(
            f"The manifest names {', '.join(unknown)}, which this version does not know."
        )
    if (adopted := manifest.plan.adopted_from) is not None:
        raise CheckpointNotReproducible(
            f"{manifest.name} was not trained here: it was adopted from {adopted.name} "
            f"({adopted.mirror}), and its maker has what it takes to make it again."
        )
    if manifest.metrics.evaluation is None:
        raise _lacking("metrics.evaluation")
    return Recorded(
        checkpoint_id=manifest.id,
        name=manifest.name,
        instance=manifest.instance,
        plan=manifest.plan,
        base_sha256=manifest.base_model.revision,
        base_parts=manifest.metrics.base_parts,
        scale=manifest.metrics.evaluation.scale,
        held_out_nats_per_token=manifest.metrics.held_out_reloaded.nats_per_token,
        file_sha256=file_sha256,
        environment=manifest.versions,
        untold=tuple(name for name in _RECIPE_FIELDS if name not in told),
    )


def _lacking(what: str) -> CheckpointNotReproducible:
    return CheckpointNotReproducible(f"The manifest lacks what it takes to run it again ({what}).")


def compare(
    recorded: Recorded, files: Sequence[CheckpointFile], report: TrainingReport
) -> Reproduction:
    """Compare what was recorded with the files and the report of the run again."""
    found = {file.name: file.sha256 for file in files}
    then, now = recorded.environment, report.environment
    return Reproduction(
        checkpoint_id=recorded.checkpoint_id,
        name=recorded.name,
        files=tuple(
            FileComparison(name=name, expected_sha256=expected, found_sha256=found[name])
            for name, expected in recorded.file_sha256.items()
        ),
        environment=tuple(
            EnvironmentChange(name=name, then=then.get(name), now=now.get(name))
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ),
        untold=recorded.untold,
        device=now.get("device", "cpu"),
        held_out_then=recorded.held_out_nats_per_token,
        held_out_now=report.held_out_reloaded.nats_per_token,
    )
