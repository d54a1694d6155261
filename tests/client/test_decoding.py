"""Answers of older and newer daemons, read as results."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.client import AnswerNotUnderstood, SleepClientError
from app.client.cycles import Decision, HeldOutLoss, Recipe
from app.client.results import BatchItem, Stats
from app.client.streams import CurrentMoved, Event
from app.client.wire import Result, decode, decode_page

EVENT: dict[str, Any] = {
    "id": 7,
    "type": "checkpoint.promoted",
    "at": "2026-01-18T12:00:00Z",
    "sleep_cycle_id": None,
    "checkpoint_id": "01J",
    "data": {"from": None},
}


def test_fields_of_a_newer_daemon_are_kept_in_raw_and_break_nothing() -> None:
    event = decode(Event, {**EVENT, "colour": "blue", "type": "checkpoint.invented"})
    assert (event.type, event.raw["colour"]) == ("checkpoint.invented", "blue")
    assert event.at == datetime(2026, 1, 18, 12, tzinfo=UTC)


def test_field_that_an_older_daemon_lacks_is_named() -> None:
    with pytest.raises(AnswerNotUnderstood, match=r"lacks Event\.at.*older"):
        decode(Event, {name: value for name, value in EVENT.items() if name != "at"})


def test_optional_field_may_be_absent() -> None:
    assert decode(BatchItem, {"index": 0, "result": "inserted"}).experience is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "7"), ("id", True), ("id", 1.5), ("at", 12), ("at", "noon"), ("data", [])],
)
def test_value_of_a_wrong_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match=rf"Event\.{field}"):
        decode(Event, {**EVENT, field: value})


def test_nested_lists_and_whole_numbers_are_read_by_their_types() -> None:
    reason = {"rule": "mass", "met": True, "text": "enough"}
    decision = decode(
        Decision, {"due": True, "mass": 3, "mass_threshold": 2, "count": 1, "reasons": [reason]}
    )
    assert isinstance(decision.mass, float)
    assert decision.reasons[0].text == "enough"


@pytest.mark.parametrize("answer", [None, [], "ok", {"data": 3}])
def test_answer_of_another_shape_is_an_error_of_ours(answer: object) -> None:
    with pytest.raises(SleepClientError):
        decode(Stats, answer)
    with pytest.raises(SleepClientError):
        decode_page(Event, answer)


def test_facts_of_an_event_are_typed_by_its_type() -> None:
    facts = {"from": "01A", "to": None, "actor": "op", "reason": "calmer"}
    moved = decode(Event, {**EVENT, "data": facts}).data
    assert isinstance(moved, CurrentMoved)
    assert (moved.from_checkpoint, moved.to_checkpoint, moved.reason) == ("01A", None, "calmer")


@pytest.mark.parametrize("type_", ["checkpoint.promoted", "checkpoint.invented"])
def test_facts_that_this_client_does_not_know_are_kept_raw(type_: str) -> None:
    event = decode(Event, {**EVENT, "type": type_, "data": {"colour": "blue"}})
    assert type(event.data) is Result
    assert event.data.raw == {"colour": "blue"}


def test_what_an_older_daemon_does_not_send_has_its_default() -> None:
    loss = {"nats_per_token": 2.5, "tokens": 10, "experiences": 1}
    assert decode(HeldOutLoss, loss).standard_error == 0.0
    recipe = decode(Recipe, {"epochs": 3, "learning_rate": 1e-5, "batch_size": 4, "r": 4,
        "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj"], "weight_decay": 0.0,
        "warmup_ratio": 0.1, "max_grad_norm": 1.0, "max_length": 512, "rehearsal_share": 0.3,
    })  # fmt: skip
    assert recipe.anchor_weight == 0.0


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [("00Z", 0), ("00.5Z", 500_000), ("00.123456789+00:00", 123_456), ("00.120+00:00", 120_000)],
)
def test_instants_are_read_however_fine_they_are(text: str, microsecond: int) -> None:
    event = decode(Event, {**EVENT, "at": f"2026-01-18T12:00:{text}"})
    assert event.at == datetime(2026, 1, 18, 12, microsecond=microsecond, tzinfo=UTC)
