"""A checkpoint's manifest: everything about it that must travel with its files.

It is written once and never changes; `files` leaves the manifest itself out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from app.domain.checkpoint import CheckpointFile
from app.domain.gate import Verdict
from app.domain.plan import CyclePlan
from app.domain.report import ProbeReply, TrainingReport
from app.domain.stored import from_json, to_json

MANIFEST_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class UnspokenReport(TrainingReport):
    """A report without what quotes a model's replies: a manifest never changes.

    A reply may repeat an experience that is erased later.
    """

    replies: Annotated[tuple[ProbeReply, ...], Field(exclude=True)] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCycle:
    """The cycle that made a checkpoint."""

    id: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestBase:
    """The base model that an adapter belongs to; `revision` is the fingerprint of its files."""

    name: str
    revision: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestExperiences:
    """Ids of what a checkpoint was made with."""

    train: tuple[str, ...]
    rehearsal: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestFile:
    """One file; its name is the key it stands under."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        plan: With the base model's name, not its place on the machine that trained.
        versions: Versions, device, dtype, threads of the training.
    """

    format: int = MANIFEST_FORMAT
    id: str
    name: str
    instance: str
    cycle: ManifestCycle
    base_model: ManifestBase
    parent: str | None
    plan: CyclePlan
    data_sha256: str
    experience_ids: ManifestExperiences
    metrics: UnspokenReport
    verdict: Verdict
    versions: Mapping[str, str]
    created_at: str
    files: Mapping[str, ManifestFile]


def make_manifest(
    *,
    checkpoint_id: str,
    name: str,
    instance: str,
    cycle: ManifestCycle,
    plan: CyclePlan,
    report: TrainingReport,
    verdict: Verdict,
    created_at: str,
    files: Sequence[CheckpointFile],
) -> Manifest:
    """The manifest of a checkpoint that is about to be published."""
    return Manifest(
        id=checkpoint_id,
        name=name,
        instance=instance,
        cycle=cycle,
        base_model=ManifestBase(name=plan.base_model, revision=report.base_sha256),
        parent=plan.parent_checkpoint_id,
        plan=plan,
        data_sha256=plan.data_sha256,
        experience_ids=ManifestExperiences(
            train=plan.experience_ids,
            rehearsal=report.rehearsed_ids,
            held_out=plan.held_out_ids,
        ),
        metrics=from_json(UnspokenReport, to_json(report)),
        verdict=verdict,
        versions=report.environment,
        created_at=created_at,
        files={
            file.name: ManifestFile(size_bytes=file.size_bytes, sha256=file.sha256)
            for file in files
        },
    )
