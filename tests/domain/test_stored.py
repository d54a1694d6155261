"""Stored values are read back as they were written, whatever version wrote them.

`tests/stored/` holds a row of every shape that was ever stored, as the code of its time wrote it;
`19-adopted.json` is what is written today, to the byte.
"""

from __future__ import annotations

import ast
import json
import types
import typing
from collections import abc
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.tables import Stored, Table
from app.domain.checkpoint import CheckpointFile
from app.domain.decision import SleepDecision
from app.domain.events import EVENTS, EventType, NoFacts, read_facts
from app.domain.gate import Verdict
from app.domain.manifest import Manifest, ManifestCycle, make_manifest
from app.domain.plan import CyclePlan
from app.domain.progress import CycleError, Progress
from app.domain.recipe import GONE_FROM_RECIPES, Recipe
from app.domain.report import TrainingReport
from app.domain.reproduction import read_manifest
from app.domain.stored import Figure, adapter, dump, from_json, to_json
from app.errors import CheckpointNotReproducible
from app.services.backup import Backup

SHAPES = sorted(Path("tests/stored").glob("*.json"))
TODAY = SHAPES[-1]
COLUMNS = {
    "decision": SleepDecision,
    "plan": CyclePlan,
    "progress": Progress,
    "metrics": TrainingReport,
    "verdict": Verdict,
    "error": CycleError,
    "manifest": Manifest,
}
KINDS = {
    *(
        column.type.kind
        for table in Table.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Stored)
    ),
    *EVENTS.values(),
    Manifest,
    Backup,
}


def read(shape: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shape.read_text())
    return found


def test_no_column_holds_a_value_that_nobody_reads_back() -> None:
    assert {CyclePlan, TrainingReport, Verdict, tuple[CheckpointFile, ...]} <= KINDS
    for module in Path("app").rglob("*.py"):
        methods = {
            node.name
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert ("to_json" in methods) == ("from_json" in methods), module


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a stored value is made of; of collections short ones.

    Only a `Figure` may be without end, or no number at all.
    """
    if annotation is Figure:
        return st.floats()
    kind = typing.get_origin(annotation) or annotation
    if kind is typing.Annotated:
        return values_of(typing.get_args(annotation)[0])
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if is_dataclass(kind):
        return st.deferred(lambda: _of_fields(kind))
    parts = [values_of(part) for part in typing.get_args(annotation) if part is not Ellipsis]
    found: st.SearchStrategy[Any]
    if kind in {tuple, list, abc.Sequence}:
        found = st.lists(parts[0], max_size=2).map(list if kind is list else tuple)
    elif kind in {dict, abc.Mapping}:
        found = st.dictionaries(*parts, max_size=2)
    elif kind in {typing.Union, types.UnionType}:
        found = st.one_of(*parts)
    else:
        found = parts[0] if parts else st.from_type(kind)
    return found


def _of_fields(kind: Any) -> st.SearchStrategy[Any]:
    if kind is Recipe:
        return st.builds(Recipe, seed=st.integers(0, 2**32 - 1))
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in fields(kind)})


@pytest.mark.parametrize("kind", sorted(KINDS, key=str), ids=str)
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
@given(data=st.data())
def test_every_stored_value_survives_json(kind: type[Any], data: st.DataObject) -> None:
    written = written_as(kind, data.draw(values_of(kind)))
    assert written_as(kind, adapter(kind).validate_python(json.loads(written))) == written


def written_as(kind: type[Any], value: Any) -> str:
    """As a database keeps it: what is not finite is no JSON, and SQLite refuses all of it."""
    return json.dumps(dump(kind, value), allow_nan=False)


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_written_today_is_equal_to_the_byte(name: str) -> None:
    stored = read(TODAY)[name]
    assert json.dumps(to_json(from_json(COLUMNS[name], stored))) == json.dumps(stored)


def test_manifest_written_today_is_equal_to_the_byte() -> None:
    row = read(TODAY)
    stored = row["manifest"]
    made = make_manifest(
        checkpoint_id=stored["id"],
        name=stored["name"],
        instance=stored["instance"],
        cycle=from_json(ManifestCycle, stored["cycle"]),
        plan=from_json(CyclePlan, row["plan"]),
        report=from_json(TrainingReport, row["metrics"]),
        verdict=from_json(Verdict, row["verdict"]),
        created_at=stored["created_at"],
        files=[from_json(CheckpointFile, file) for file in row["files"]],
    )
    assert json.dumps(to_json(made), indent=2, sort_keys=True) == json.dumps(
        stored, indent=2, sort_keys=True
    )
    assert "replies" not in to_json(made)["metrics"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.stem)
def test_row_of_every_shape_is_read_and_nothing_of_it_is_lost(shape: Path) -> None:
    row = read(shape)
    row["manifest"]["metrics"].pop("replies", None)  # what the first ones quoted is not kept
    without_variations(row)
    for name, kind in COLUMNS.items():
        told = to_json(from_json(kind, row[name]))
        assert holds(told, row[name]), name


def without_variations(row: dict[str, Any]) -> None:
    """What cycles made of them is told no longer; the recipe's fields are known to be gone."""
    for part in (row, row["manifest"]):
        part["metrics"].pop("variations", None)
        for name in GONE_FROM_RECIPES:
            part["plan"]["recipe"].pop(name, None)


def test_older_rows_say_what_held_then_and_not_what_holds_now() -> None:
    plan = from_json(CyclePlan, read(SHAPES[0])["plan"])
    assert plan.replaces_checkpoint_id == plan.parent_checkpoint_id
    assert plan.recipe.anchor_weight == 0
    assert (plan.rehearsal_count, plan.left_out, plan.floors) == (None, (), ())
    report = from_json(TrainingReport, read(SHAPES[0])["metrics"])
    assert (report.evaluation, report.held_out_replaced) == (None, None)
    with pytest.raises(ValueError, match="before general knowledge"):
        _ = report.measures
    assert from_json(CyclePlan, read(SHAPES[3])["plan"]).recipe.anchor_interval == 1


def test_recipe_that_today_would_be_refused_is_read_as_it_was() -> None:
    plan = read(TODAY)["plan"]
    with pytest.raises(ValueError, match="epochs"):
        from_json(CyclePlan, {**plan, "recipe": {**plan["recipe"], "epochs": "many"}})
    odd = {"max_grad_norm": float("inf"), "target_modules": ["model.layers.*"], "epochs": 500}
    recipe = from_json(CyclePlan, {**plan, "recipe": {**plan["recipe"], **odd}}).recipe
    assert (recipe.max_grad_norm, recipe.target_modules, recipe.epochs) == (
        float("inf"),
        ("model.layers.*",),
        500,
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.stem)
def test_event_of_every_type_and_shape_is_read(shape: Path) -> None:
    for type_, data in read(shape)["events"]:
        facts = read_facts(type_, data)
        assert type(facts) is EVENTS[EventType(type_)]
        assert holds(to_json(facts), data), type_


def test_every_event_type_was_written_once_at_least() -> None:
    assert {type_ for type_, _ in read(TODAY)["events"]} == set(EventType)


def test_event_of_a_newer_version_is_one_without_facts() -> None:
    assert read_facts("sleep_cycle.dreamt", {"dreams": 3}) == NoFacts()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.stem)
def test_manifest_of_every_shape_is_run_again_or_named_as_too_old(shape: Path) -> None:
    manifest = read(shape)["manifest"]
    if manifest["plan"]["recipe"].get("variations"):
        with pytest.raises(CheckpointNotReproducible, match="variations"):
            read_manifest(manifest)
    elif "evaluation" in manifest["metrics"]:
        assert read_manifest(manifest).plan == from_json(CyclePlan, manifest["plan"])
    else:
        with pytest.raises(CheckpointNotReproducible, match="evaluation"):
            read_manifest(manifest)


def holds(told: Any, stored: Any) -> bool:
    """Whether all that was stored is told; what an older version did not store may be added."""
    if isinstance(stored, dict):
        return all(name in told and holds(told[name], value) for name, value in stored.items())
    if isinstance(stored, list):
        return len(told) == len(stored) and all(map(holds, told, stored))
    return bool(told == stored)
