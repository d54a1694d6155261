"""The gate: accepts what learned, rejects what did not or broke; long by a case for each check."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.experience import CycleRole
from app.domain.gate import (
    MIN_EARLIER,
    Check,
    GatePolicy,
    VerdictStatus,
    judge,
    retention_checks,
)
from app.domain.measurement import Measurement
from app.domain.recall import Recalled, RecallReport
from app.domain.replies import ReplyMeasures
from app.domain.report import Evaluation, HeldOutLoss, Retention, TrainingReport
from app.domain.stored import to_json
from tests.domain.ranges import TINY, check_range
from tests.measured import exactly, make_training_report

POLICY = GatePolicy()
GOOD = make_training_report(before=3.6, after=2.9)


def loss(nats: float) -> HeldOutLoss:
    return replace(GOOD.held_out_before, nats_per_token=nats)


def failed(report: TrainingReport, policy: GatePolicy = POLICY) -> list[str]:
    return [check.name for check in judge(report, policy).checks if not check.is_passed]


def above(limit: float) -> float:
    return math.nextafter(limit, math.inf)


def below(limit: float) -> float:
    return math.nextafter(limit, -math.inf)


def with_retention(**changes: float) -> TrainingReport:
    evaluation = GOOD.measures
    retention = replace(
        evaluation.after.retention, **{name: exactly(value) for name, value in changes.items()}
    )
    return _with_after(replace(evaluation, after=replace(evaluation.after, retention=retention)))


def with_session_retention(**changes: float) -> TrainingReport:
    evaluation = GOOD.measures
    assert evaluation.after.session_retention is not None
    retention = replace(
        evaluation.after.session_retention,
        **{name: exactly(value) for name, value in changes.items()},
    )
    return _with_after(
        replace(evaluation, after=replace(evaluation.after, session_retention=retention))
    )


def with_replies(**changes: float) -> TrainingReport:
    evaluation = GOOD.measures
    measures: dict[str, Any] = {name: exactly(value) for name, value in changes.items()}
    replies = replace(evaluation.after.replies, **measures)
    return _with_after(replace(evaluation, after=replace(evaluation.after, replies=replies)))


def _with_after(evaluation: Evaluation) -> TrainingReport:
    return replace(GOOD, evaluation=evaluation)


def test_cycle_that_learned_is_accepted() -> None:
    assert judge(GOOD, POLICY).status is VerdictStatus.ACCEPTED
    assert judge(GOOD, POLICY).is_accepted is True
    assert failed(GOOD) == []


def with_medians(before: float | None, after: float | None, tokens: int = 100) -> TrainingReport:
    return replace(
        GOOD,
        held_out_before=replace(GOOD.held_out_before, median_nats=before),
        held_out_reloaded=replace(GOOD.held_out_reloaded, median_nats=after, tokens=tokens),
    )


def test_median_of_held_out_loss_may_not_rise_where_the_mean_falls() -> None:
    limit = 1.2 + POLICY.held_out_median_tolerance
    assert failed(with_medians(1.2, limit)) == []
    assert failed(with_medians(1.2, above(limit))) == ["held_out_median"]
    assert failed(with_medians(1.2, math.nan)) == ["held_out_median"]
    (check,) = (
        one for one in judge(with_medians(1.2, 1.0), POLICY).checks if one.name == "held_out_median"
    )
    assert (check.value, check.limit, check.baseline) == (1.0, limit, 1.2)


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (1.0, None), (None, None)])
def test_cycle_whose_median_nobody_measured_has_no_check_of_it(
    before: float | None, after: float | None
) -> None:
    checks = judge(with_medians(before, after), POLICY).checks
    assert "held_out_median" not in {check.name for check in checks}


def test_no_token_has_no_median() -> None:
    assert failed(with_medians(math.nan, math.nan, tokens=0)) == ["held_out_tokens"]


@pytest.mark.parametrize("name", ["general_kl", "anchor_kl"])
def test_what_is_lost_where_sessions_ask_is_lost(name: str) -> None:
    limit = getattr(POLICY, name)
    assert failed(with_session_retention(**{name: limit})) == []
    assert failed(with_session_retention(**{name: above(limit)})) == [f"session_{name}"]


def test_loss_is_compared_with_the_bases_own_where_sessions_ask() -> None:
    base = GOOD.measures.base.session_retention
    assert base is not None
    limit = base.general_loss.value + POLICY.general_loss_rise
    assert failed(with_session_retention(general_loss=limit)) == []
    assert failed(with_session_retention(general_loss=above(limit))) == ["session_general_loss"]


def test_cycle_that_was_not_asked_as_sessions_ask_has_no_such_check() -> None:
    older = replace(GOOD.measures, after=replace(GOOD.measures.after, session_retention=None))
    report = replace(GOOD, evaluation=older)
    assert not [
        check for check in judge(report, POLICY).checks if check.name.startswith("session_")
    ]


def test_nothing_to_measure_on_is_nothing_to_accept() -> None:
    def measured_on(tokens: int) -> list[str]:
        found = replace(GOOD.held_out_reloaded, tokens=tokens)
        return failed(replace(GOOD, held_out_reloaded=found))

    assert measured_on(1) == []
    assert measured_on(0) == ["held_out_tokens"]


def test_held_out_loss_may_rise_by_what_rounding_moves() -> None:
    def rose_to(nats: float) -> TrainingReport:
        return replace(GOOD, held_out_after=loss(nats), held_out_reloaded=loss(nats))

    assert failed(rose_to(3.6 + 0.005)) == []
    assert failed(rose_to(above(3.6 + 0.005))) == ["held_out_loss"]
    assert judge(rose_to(3.7), POLICY).status is not VerdictStatus.ACCEPTED
    assert not judge(rose_to(3.7), POLICY).is_accepted


def test_adapter_made_anew_must_not_fall_behind_the_one_it_replaces() -> None:
    def made_anew(nats: float) -> list[str]:
        after = replace(GOOD, held_out_after=loss(nats), held_out_reloaded=loss(nats))
        return failed(replace(after, held_out_replaced=loss(2.0)))

    assert made_anew(2.0 + 0.04) == []
    assert made_anew(above(2.0 + 0.04)) == ["replaced_held_out_loss"]


def test_adapter_that_moves_held_out_tokens_by_too_little_is_inert() -> None:
    assert failed(replace(GOOD, effect_nats=0.005)) == []
    assert failed(replace(GOOD, effect_nats=below(0.005))) == ["inertness"]


@pytest.mark.parametrize("sign", [1, -1])
def test_adapter_that_reads_back_differently_is_refused(sign: int) -> None:
    def read_back(difference: float) -> list[str]:
        return failed(
            replace(GOOD, held_out_after=loss(0.0), held_out_reloaded=loss(sign * difference))
        )

    assert read_back(0.001) == []
    assert read_back(above(0.001)) == ["reload"]


def test_a_layer_that_moved_far_is_refused() -> None:
    def moved(norm: float) -> list[str]:
        return failed(_with_after(replace(GOOD.measures, update_norm=norm)))

    assert moved(0.15) == []
    assert moved(above(0.15)) == ["update_norm"]


@pytest.mark.parametrize("nats", [math.nan, math.inf])
def test_loss_that_is_no_number_is_refused(nats: float) -> None:
    assert "held_out_loss" in failed(replace(GOOD, held_out_reloaded=loss(nats)))


def test_smaller_scales_are_tried_after_the_whole_and_none_of_what_is_broken() -> None:
    assert POLICY.scales == (1.0, 0.75, 0.5, 0.25)
    assert POLICY.broken_kl == 0.4


@pytest.mark.parametrize(
    ("measure", "limit", "name"),
    [
        ("general_kl", 0.1, "general_kl"),
        ("general_loss", 1.4 + 0.05, "general_loss"),
        ("anchor_kl", 0.1, "anchor_kl"),
    ],
)
def test_forgetting_is_refused_beyond_its_limit(measure: str, limit: float, name: str) -> None:
    assert failed(with_retention(**{measure: limit})) == []
    assert failed(with_retention(**{measure: above(limit)})) == [name]


@pytest.mark.parametrize(
    ("measure", "limit", "name"),
    [
        ("repeated_ngrams", 0.01 + 0.06, "repetition"),
        ("looping", 0.1, "looping"),
        ("similar_pairs", 0.1, "similar_pairs"),
        ("question_floods", 0.25, "question_floods"),
        ("copies", 0.15, "copies"),
        ("disclaimers", 0.2, "disclaimers"),
    ],
)
def test_collapse_is_refused_beyond_its_limit(measure: str, limit: float, name: str) -> None:
    assert failed(with_replies(**{measure: limit})) == []
    assert failed(with_replies(**{measure: above(limit)})) == [name]


@pytest.mark.parametrize(
    ("measure", "limit", "name"),
    [
        ("distinct_2", 0.92 - 0.2, "distinct"),
        ("self_references", 0.5 - 0.35, "self_reference"),
        ("ended", 0.6 - 0.2, "endings"),
    ],
)
def test_lost_variety_and_lost_identity_are_refused_below_their_limit(
    measure: str, limit: float, name: str
) -> None:
    assert failed(with_replies(**{measure: limit})) == []
    assert failed(with_replies(**{measure: below(limit)})) == [name]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_measure_that_is_no_number_passes_no_check(value: float) -> None:
    assert failed(with_retention(general_kl=value)) == ["general_kl"]
    assert failed(with_replies(distinct_2=value)) == ["distinct"]


def test_fault_of_the_base_itself_is_not_held_against_the_adapter() -> None:
    evaluation = GOOD.measures
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
    base: Retention = GOOD.measures.base.retention

    def passes(value: float) -> bool:
        after = replace(base, general_kl=exactly(value), anchor_kl=exactly(value))
        return all(check.is_passed for check in retention_checks(base, after, POLICY))

    assert passes(kl * smaller) or not passes(kl)


def asked_for(statements: int, *, before: int, after: int) -> TrainingReport:
    """A report in which so many of the statements of earlier cycles are recalled."""
    earlier = tuple(
        Recalled(experience_id=str(n), role=CycleRole.REHEARSAL, before=n < before, after=n < after)
        for n in range(statements)
    )
    new = Recalled(experience_id="new", role=CycleRole.TRAIN, before=True, after=False)
    recall = RecallReport(counts=(), statements=(new, *earlier), nats_before=3.0, nats_after=1.0)
    return replace(GOOD, recall=recall)


def recall_check(report: TrainingReport, policy: GatePolicy = POLICY) -> Check | None:
    checks = [c for c in judge(report, policy).checks if c.name == "earlier_recall"]
    return checks[0] if checks else None


@pytest.mark.parametrize("statements", [MIN_EARLIER, MIN_EARLIER + 1, 10])
def test_what_earlier_cycles_were_told_must_be_recalled_as_before_less_a_share(
    statements: int,
) -> None:
    check = recall_check(asked_for(statements, before=3, after=2))
    assert check is not None
    baseline = 3 / statements
    assert (check.value, check.baseline) == (2 / statements, baseline)
    assert check.limit == baseline - POLICY.recall_fall
    assert f"of {statements} statements" in check.text


@pytest.mark.parametrize(("after", "faults"), [(4, []), (3, ["earlier_recall"])])
def test_recall_is_lost_below_its_limit(after: int, faults: list[str]) -> None:
    report = asked_for(8, before=8, after=after)
    assert failed(report, replace(POLICY, recall_fall=0.5)) == faults


@pytest.mark.parametrize("statements", [0, 1, MIN_EARLIER - 1])
def test_of_fewer_than_four_statements_one_more_or_less_is_no_loss(statements: int) -> None:
    assert MIN_EARLIER == 4
    assert recall_check(asked_for(statements, before=statements, after=0)) is None
    assert recall_check(GOOD) is None


def test_recall_may_fall_by_a_third_by_default() -> None:
    assert POLICY.recall_fall == 0.34


def test_word_that_an_older_daemon_stored_means_rejected() -> None:
    assert VerdictStatus("refused") is VerdictStatus.REJECTED
    for other in ("", "accept", "zzz"):
        with pytest.raises(ValueError, match="is not a valid VerdictStatus"):
            VerdictStatus(other)


def test_verdict_says_in_words_what_failed_and_nothing_else() -> None:
    verdict = judge(with_retention(general_kl=above(POLICY.general_kl)), POLICY)
    (fault,) = [check for check in verdict.checks if check.name == "general_kl"]
    assert verdict.failed == (fault.text,)
    assert judge(GOOD, POLICY).failed == ()


@pytest.mark.parametrize("side", ["base", "after"])
def test_endings_that_were_asked_for_on_one_side_alone_are_not_judged(side: str) -> None:
    evaluation = GOOD.measures
    measures = getattr(evaluation, side)
    without = replace(measures, replies=replace(measures.replies, ended=None))
    report = _with_after(replace(evaluation, **{side: without}))
    assert "endings" not in [check.name for check in judge(report, POLICY).checks]


def test_an_error_that_nobody_knows_is_said_to_be_unknown() -> None:
    evaluation = GOOD.measures
    for error, words in ((0.25, "± 0.250"), (math.nan, "± unknown")):
        ended = Measurement(value=0.5, standard_error=error)
        replies = replace(evaluation.after.replies, ended=ended)
        after = replace(evaluation.after, replies=replies)
        checks = judge(_with_after(replace(evaluation, after=after)), POLICY).checks
        assert words in next(check.text for check in checks if check.name == "endings")


def test_policy_decides_the_limits() -> None:
    loose = replace(POLICY, general_kl=1.0, repetition_rise=1.0, looping_rise=1.0)
    assert failed(with_retention(general_kl=0.5), loose) == []
    assert failed(with_replies(repeated_ngrams=0.6), loose) == []


def test_verdict_names_value_limit_and_baseline_of_every_check() -> None:
    found = judge(replace(GOOD, held_out_replaced=loss(2.9)), POLICY).checks
    assert [(check.name, check.value, check.limit, check.baseline) for check in found] == [
        ("held_out_tokens", 100, 1, None),
        ("held_out_loss", 2.9, 3.6 + 0.005, 3.6),
        ("replaced_held_out_loss", 2.9, 2.9 + 0.04, 2.9),
        ("reload", 0, 0.001, 2.9),
        ("inertness", 0.5, 0.005, 0),
        ("update_norm", 0.02, 0.15, 0),
        ("general_kl", 0, 0.1, 0),
        ("general_loss", 1.4, 1.4 + 0.05, 1.4),
        ("anchor_kl", 0, 0.1, 0),
        ("session_general_kl", 0, 0.1, 0),
        ("session_general_loss", 1.4, 1.4 + 0.05, 1.4),
        ("session_anchor_kl", 0, 0.1, 0),
        ("repetition", 0.01, 0.01 + 0.06, 0.01),
        ("looping", 0, 0.1, 0),
        ("similar_pairs", 0, 0.1, 0),
        ("question_floods", 0, 0.25, 0),
        ("copies", 0, 0.15, 0),
        ("disclaimers", 0, 0.2, 0),
        ("distinct", 0.92, 0.92 - 0.2, 0.92),
        ("self_reference", 0.5, 0.5 - 0.35, 0.5),
        ("endings", 0.6, 0.6 - 0.2, 0.6),
    ]


def test_stored_verdict_holds_every_check_in_words() -> None:
    for check in to_json(judge(GOOD, POLICY))["checks"]:
        assert set(check) == {"name", "passed", "value", "limit", "baseline", "text"}
        assert check["text"]


def test_every_measure_of_replies_is_a_measurement() -> None:
    replies: ReplyMeasures = GOOD.measures.base.replies
    values = {name: getattr(replies, name) for name in ReplyMeasures.__dataclass_fields__}
    assert values.pop("replies") == 24
    assert all(isinstance(value, Measurement) for value in values.values())


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("held_out_tolerance", 0.0, None),
        ("held_out_median_tolerance", 0.0, None),
        ("replaced_tolerance", 0.0, None),
        ("inert_limit", 0.0, None),
        ("reload_tolerance", 0.0, None),
        ("general_kl", 0.0, None),
        ("general_loss_rise", 0.0, None),
        ("anchor_kl", 0.0, None),
        ("repetition_rise", 0.0, 1.0),
        ("looping_rise", 0.0, 1.0),
        ("distinct_fall", 0.0, 1.0),
        ("similar_pairs_rise", 0.0, 1.0),
        ("question_floods_rise", 0.0, 1.0),
        ("copies_rise", 0.0, 1.0),
        ("disclaimers_rise", 0.0, 1.0),
        ("self_references_fall", 0.0, 1.0),
        ("ended_fall", 0.0, 1.0),
        ("recall_fall", 0.0, 1.0),
        ("invention_rise", 0.0, 1.0),
        ("update_norm", 0.0, None),
        ("broken_kl", 0.0, None),
    ],
)
def test_gate_takes_what_lies_between_the_ends_of_a_range(
    field: str, lowest: float, highest: float | None
) -> None:
    check_range(GatePolicy, field, lowest, highest)


@pytest.mark.parametrize("scale", [TINY, 1.0])
def test_a_scale_is_a_part_of_the_adapter_or_the_whole(scale: float) -> None:
    assert GatePolicy(scales=(scale,)).scales == (scale,)


@pytest.mark.parametrize("scales", [(), (0.0,), (above(1.0),), (1.0, 0.0)])
def test_no_scale_or_one_that_is_no_part_is_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        GatePolicy(scales=scales)
