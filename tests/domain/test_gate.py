"""The gate: accepts what learned, refuses what did not, and names the check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.gate import (
    INERT_LIMIT_NATS,
    HeldOutLoss,
    TrainingReport,
    VerdictStatus,
    judge,
)


def loss(nats: float) -> HeldOutLoss:
    return HeldOutLoss(nats_per_token=nats, tokens=100, experiences=4)


GOOD = TrainingReport(
    base_sha256="b",
    held_out_before=loss(3.6),
    held_out_after=loss(2.9),
    held_out_reloaded=loss(2.9),
    effect_nats=0.8,
    loss_curve=(3.5, 3.0),
    steps=2,
    trained_tokens=200,
    supervised_tokens=100,
    trainable_parameters=10,
    tokens_per_second=300.0,
    peak_memory_bytes=1,
    seconds={"train": 1.0},
    environment={},
)


def failed(report: TrainingReport) -> list[str]:
    return [check.name for check in judge(report).checks if not check.is_passed]


def test_cycle_that_learned_is_accepted() -> None:
    assert judge(GOOD).status is VerdictStatus.ACCEPTED
    assert failed(GOOD) == []


def test_nothing_to_measure_on_is_nothing_to_accept() -> None:
    nothing = HeldOutLoss(nats_per_token=0.0, tokens=0, experiences=0)
    empty = replace(
        GOOD, held_out_before=nothing, held_out_after=nothing, held_out_reloaded=nothing
    )
    assert failed(empty) == ["held_out_tokens"]


def test_risen_held_out_loss_is_refused() -> None:
    worse = replace(GOOD, held_out_after=loss(3.7), held_out_reloaded=loss(3.7))
    assert judge(worse).status is VerdictStatus.REFUSED
    assert failed(worse) == ["held_out_loss"]


def test_inert_adapter_is_refused() -> None:
    assert failed(replace(GOOD, effect_nats=INERT_LIMIT_NATS / 2)) == ["inertness"]


def test_adapter_that_reads_back_differently_is_refused() -> None:
    assert failed(replace(GOOD, held_out_reloaded=loss(3.0))) == ["reload"]


@pytest.mark.parametrize("nats", [float("nan"), float("inf")])
def test_loss_that_is_no_number_is_refused(nats: float) -> None:
    assert "held_out_loss" in failed(replace(GOOD, held_out_reloaded=loss(nats)))


def test_verdict_names_value_limit_and_baseline_of_every_check() -> None:
    for check in judge(GOOD).to_json()["checks"]:
        assert set(check) == {"name", "passed", "value", "limit", "baseline", "text"}
