"""A manifest read back, and what is said of a run that came out the same or another."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from app.domain.checkpoint import CheckpointFile
from app.domain.gate import GatePolicy, judge
from app.domain.manifest import ManifestCycle, make_manifest
from app.domain.plan import CyclePlan
from app.domain.recipe import Recipe
from app.domain.reproduction import Recorded, compare, read_manifest
from app.domain.stored import to_json
from app.errors import CheckpointNotReproducible
from tests.measured import make_training_report

FILES = tuple(
    CheckpointFile(name=name, size_bytes=1, sha256=sha256)
    for name, sha256 in (("adapter_config.json", "c"), ("adapter_model.safetensors", "m"))
)
ENVIRONMENT = {"torch": "2.13.0", "device": "cpu", "threads": "2"}
REPORT = replace(
    make_training_report(before=3.0, after=2.5),
    environment=ENVIRONMENT,
    base_sha256="b",
    rehearsed_ids=("01R",),
)
PLAN = CyclePlan(
    base_model="tiny",
    system_prompt="You are SAGE.",
    recipe=Recipe(seed=3),
    min_salience=0.5,
    max_experiences=8,
    parent_checkpoint_id="01P",
    experience_ids=("01A",),
    rehearsal_ids=(),
    held_out_ids=("01B",),
    data_sha256="d",
    probe_prompts=("Who are you?",),
)


def manifest() -> dict[str, Any]:
    made = make_manifest(
        checkpoint_id="01C",
        name="default/1-01C",
        instance="default",
        cycle=ManifestCycle(id="01Y", number=1),
        plan=PLAN,
        report=REPORT,
        verdict=judge(REPORT, GatePolicy()),
        created_at="2026-01-18T12:00:00+00:00",
        files=FILES,
    )
    found: dict[str, Any] = json.loads(json.dumps(to_json(made)))
    return found


def test_manifest_gives_the_plan_back_as_it_was() -> None:
    recorded = read_manifest(manifest())
    assert recorded.plan == PLAN
    assert (recorded.base_sha256, recorded.scale, recorded.untold) == ("b", 1.0, ())


def test_equal_files_are_reproduced_whatever_the_versions() -> None:
    report = replace(REPORT, environment={**ENVIRONMENT, "torch": "2.14.0"})
    outcome = compare(read_manifest(manifest()), FILES, report)
    assert outcome.is_reproduced
    assert outcome.explanation() == (
        "default/1-01C was made again, equal byte for byte.",
        "torch: 2.13.0 then, 2.14.0 now.",
    )


def explain(recorded: Recorded, environment: dict[str, str]) -> str:
    changed = (FILES[0], replace(FILES[1], sha256="other"))
    outcome = compare(recorded, changed, replace(REPORT, environment=environment))
    assert not outcome.is_reproduced
    assert asdict(outcome)["files"][0]["name"] == "adapter_model.safetensors"
    return " ".join(outcome.explanation())


def test_other_bytes_are_explained_by_what_else_is_other() -> None:
    recorded = read_manifest(manifest())
    assert "threads: 2 then, 4 now." in explain(recorded, {**ENVIRONMENT, "threads": "4"})
    assert "promised on a CPU" in explain(recorded, {**ENVIRONMENT, "device": "cuda H100"})
    assert "another processor" in explain(recorded, ENVIRONMENT)
    older = manifest()
    del older["plan"]["recipe"]["anchor_weight"]
    words = explain(read_manifest(older), ENVIRONMENT)
    assert "does not tell anchor_weight" in words
    assert "another processor" not in words


def test_manifest_of_another_format_or_without_a_part_is_no_manifest() -> None:
    with pytest.raises(CheckpointNotReproducible, match="format 2"):
        read_manifest({**manifest(), "format": 2})
    with pytest.raises(CheckpointNotReproducible, match="versions"):
        read_manifest({name: value for name, value in manifest().items() if name != "versions"})
    odd = manifest()
    odd["plan"]["recipe"]["omens"] = 3
    with pytest.raises(CheckpointNotReproducible, match="omens"):
        read_manifest(odd)


def test_manifest_quotes_no_reply_and_names_what_was_rehearsed() -> None:
    assert REPORT.replies is not None
    assert "replies" not in manifest()["metrics"]
    assert manifest()["experience_ids"]["rehearsal"] == ["01R"]
