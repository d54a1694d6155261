"""The gate: accepts what learned, refuses what did not or what broke, and names the check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.gate import GatePolicy, VerdictStatus, judge, retention_checks
from app.domain.measurement import Measurement
from app.domain.replies import ReplyMeasures
from app.domain.report import Evaluation, HeldOutLoss, Retention, TrainingReport
from tests.measured import exactly, make_training_report

POLICY = GatePolicy()
GOOD = make_training_report(before=3.6, after=2.9)


def loss(nats: float) -> HeldOutLoss:
    return replace(GOOD.held_out_before, nats_per_token=nats)


def failed(report: TrainingReport, policy: GatePolicy = POLICY) -> list[str]:
    return [check.name for check in judge(report, policy).checks if not check.is_passed]


def with_retention(**changes: float) -> TrainingReport:
    evaluation = GOOD.evaluation
    retention = replace(
        evaluation.after.retention, **{name: exactly(value) for name, value in changes.items()}
    )
    return _with_after(replace(evaluation, after=replace(evaluation.after, retention=retention)))


def with_replies(**changes: float) -> TrainingReport:
    evaluation = GOOD.evaluation
    measures: dict[str, Any] = {name: exactly(value) for name, value in changes.items()}
    replies = replace(evaluation.after.replies, **measures)
    return _with_after(replace(evaluation, after=replace(evaluation.after, replies=replies)))


def _with_after(evaluation: Evaluation) -> TrainingReport:
    return replace(GOOD, evaluation=evaluation)


def test_cycle_that_learned_is_accepted() -> None:
    assert judge(GOOD, POLICY).status is VerdictStatus.ACCEPTED
    assert failed(GOOD) == []


def test_nothing_to_measure_on_is_nothing_to_accept() -> None:
    nothing = HeldOutLoss(nats_per_token=0.0, tokens=0, experiences=0)
    empty = replace(
        GOOD, held_out_before=nothing, held_out_after=nothing, held_out_reloaded=nothing
    )
    assert failed(empty) == ["held_out_tokens"]


def test_risen_held_out_loss_is_refused() -> None:
    worse = replace(GOOD, held_out_after=loss(3.7), held_out_reloaded=loss(3.7))
    assert judge(worse, POLICY).status is VerdictStatus.REFUSED
    assert failed(worse) == ["held_out_loss"]


def test_adapter_made_anew_must_not_fall_behind_the_one_it_replaces() -> None:
    def made_anew(replaced: float) -> TrainingReport:
        return replace(GOOD, held_out_replaced=loss(replaced))

    assert failed(made_anew(2.9 - POLICY.replaced_tolerance / 2)) == []
    assert failed(made_anew(2.9 - 2 * POLICY.replaced_tolerance)) == ["replaced_held_out_loss"]


def test_inert_adapter_is_refused() -> None:
    assert failed(replace(GOOD, effect_nats=POLICY.inert_limit / 2)) == ["inertness"]


def test_adapter_that_reads_back_differently_is_refused() -> None:
    assert failed(replace(GOOD, held_out_reloaded=loss(3.0))) == ["reload"]


@pytest.mark.parametrize("nats", [float("nan"), float("inf")])
def test_loss_that_is_no_number_is_refused(nats: float) -> None:
    assert "held_out_loss" in failed(replace(GOOD, held_out_reloaded=loss(nats)))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"general_kl": 0.5}, "general_kl"),
        ({"general_loss": 2.0}, "general_loss"),
        ({"anchor_kl": 0.5}, "anchor_kl"),
        ({"general_kl": float("nan")}, "general_kl"),
    ],
)
def test_forgetting_is_refused(changes: dict[str, float], name: str) -> None:
    assert failed(with_retention(**changes)) == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"repeated_ngrams": 0.6}, "repetition"),
        ({"looping": 0.6}, "looping"),
        ({"distinct_2": 0.3}, "distinct"),
        ({"similar_pairs": 0.5}, "similar_pairs"),
        ({"question_floods": 0.8}, "question_floods"),
        ({"copies": 0.5}, "copies"),
        ({"disclaimers": 0.9}, "disclaimers"),
        ({"self_references": 0.0}, "self_reference"),
    ],
)
def test_collapse_and_lost_identity_are_refused(changes: dict[str, float], name: str) -> None:
    assert failed(with_replies(**changes)) == [name]


def test_fault_of_the_base_itself_is_not_held_against_the_adapter() -> None:
    evaluation = GOOD.evaluation
    poor = replace(evaluation.base.replies, repeated_ngrams=exactly(0.5), looping=exactly(0.5))
    report = replace(
        GOOD,
        evaluation=replace(
            evaluation,
            base=replace(evaluation.base, replies=poor),
            after=replace(evaluation.after, replies=poor),
        ),
    )
    assert failed(report) == []


@given(
    kl=st.floats(min_value=0, max_value=5),
    smaller=st.floats(min_value=0, max_value=1),
)
def test_what_forgets_less_never_fails_where_more_passes(kl: float, smaller: float) -> None:
    base: Retention = GOOD.evaluation.base.retention

    def passes(value: float) -> bool:
        after = replace(base, general_kl=exactly(value), anchor_kl=exactly(value))
        return all(check.is_passed for check in retention_checks(base, after, POLICY))

    assert passes(kl * smaller) or not passes(kl)


def test_policy_decides_the_limits() -> None:
    loose = replace(POLICY, general_kl=1.0, repetition_rise=1.0, looping_rise=1.0)
    assert failed(with_retention(general_kl=0.5), loose) == []
    assert failed(with_replies(repeated_ngrams=0.6), loose) == []


def test_verdict_names_value_limit_and_baseline_of_every_check() -> None:
    checks = judge(GOOD, POLICY).to_json()["checks"]
    for check in checks:
        assert set(check) == {"name", "passed", "value", "limit", "baseline", "text"}
        assert check["text"]
    assert len({check["name"] for check in checks}) == len(checks)


def test_every_measure_of_replies_is_a_measurement() -> None:
    replies: ReplyMeasures = GOOD.evaluation.base.replies
    values = {name: getattr(replies, name) for name in ReplyMeasures.__dataclass_fields__}
    assert values.pop("replies") == 24
    assert all(isinstance(value, Measurement) for value in values.values())
