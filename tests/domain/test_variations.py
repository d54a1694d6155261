"""What is varied, what a variation leaves as it is, and which wordings have drifted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.experience import TrainingExchange, Turn
from app.domain.presets import lay_over
from app.domain.recipe import Recipe
from app.domain.salience import COMPONENTS, Salience
from app.domain.variations import (
    LOSS_RISE_LIMIT,
    Drift,
    VariationFinding,
    VariationKind,
    applies,
    compare_wording,
    drop_context,
    loss_drift,
    plan_variations,
    shuffle_context,
    summarise_variations,
)

CONTEXT = (VariationKind.DROPPED_CONTEXT, VariationKind.SHUFFLED_CONTEXT)

turns = st.builds(
    Turn, role=st.sampled_from(["user", "assistant", "tool"]), content=st.text(max_size=9)
)
exchanges = st.builds(
    TrainingExchange,
    experience_id=st.text(max_size=9),
    prompt=st.text(max_size=60),
    response=st.text(max_size=60),
    salience=st.just(Salience(**dict.fromkeys(COMPONENTS, 0.5))),
    history=st.lists(turns, max_size=9).map(tuple),
    system_prompt=st.none() | st.text(max_size=9),
)
kinds = st.lists(st.sampled_from(VariationKind), unique=True)


@given(st.lists(exchanges, max_size=9), kinds, st.floats(min_value=0, max_value=3))
def test_plan_keeps_to_the_share_and_makes_only_what_applies(
    train: list[TrainingExchange], wanted: list[VariationKind], share: float
) -> None:
    planned = plan_variations(train, wanted, share)
    assert len(planned) <= share * len(train) + 1e-6
    assert len(set(planned)) == len(planned)
    for place, kind in planned:
        assert kind in wanted
        assert applies(kind, train[place])
    apply = sum(applies(kind, one) for kind in wanted for one in train)
    assert len(planned) == min(apply, int(share * len(train) + 1e-9))
    of_each = Counter(place for place, _ in planned)
    first = {place for place, one in enumerate(train) if any(applies(k, one) for k in wanted)}
    if any(times > 1 for times in of_each.values()):
        assert set(of_each) == first


@given(exchanges, st.integers(min_value=0, max_value=99))
def test_context_is_varied_and_nothing_else(exchange: TrainingExchange, seed: int) -> None:
    for kind, vary in zip(CONTEXT, (drop_context, shuffle_context), strict=True):
        if not applies(kind, exchange):
            continue
        varied = vary(exchange, seed=seed)
        assert varied == vary(exchange, seed=seed)
        for name in ("experience_id", "prompt", "response", "salience", "system_prompt"):
            assert getattr(varied, name) == getattr(exchange, name)
        if kind is VariationKind.DROPPED_CONTEXT:
            assert len(varied.history) < len(exchange.history)
            assert exchange.history[len(exchange.history) - len(varied.history) :] == varied.history
        else:
            assert Counter(varied.history) == Counter(exchange.history)


def test_exchange_without_history_has_no_context_to_vary() -> None:
    alone = TrainingExchange(
        experience_id="a",
        prompt="What did we learn?",
        response="That basil is no fern.",
        salience=Salience(**dict.fromkeys(COMPONENTS, 0.5)),
    )
    assert plan_variations([alone], CONTEXT, 3.0) == []
    assert plan_variations([alone], list(VariationKind), 3.0) == [
        (0, VariationKind.PARAPHRASED_PROMPT)
    ]


def test_turns_are_shuffled_with_the_replies_to_them() -> None:
    history = tuple(
        Turn(role=role, content=f"{role} {i}") for i in range(4) for role in ("user", "assistant")
    )
    exchange = TrainingExchange(
        experience_id="a",
        prompt="p",
        response="r",
        salience=Salience(**dict.fromkeys(COMPONENTS, 0.5)),
        history=(Turn(role="assistant", content="hello"), *history),
    )
    orders = set()
    for seed in range(20):
        varied = shuffle_context(exchange, seed=seed).history
        assert varied[0].content == "hello"
        assert varied != exchange.history
        pairs = list(zip(varied[1::2], varied[2::2], strict=True))
        assert all(a.content[-1] == b.content[-1] for a, b in pairs)
        orders.add(varied)
    assert len(orders) > 5


@pytest.mark.parametrize(
    ("prompt", "paraphrase", "drift"),
    [
        ("Can you hold two views at once?", "Can you hold two views at the same time?", None),
        ("What does uncertainty feel like to you?", "How does uncertainty feel to you?", None),
        ("Why do you sleep?", "why do you sleep", Drift.UNCHANGED),
        ("Why do you sleep?", "", Drift.COLLAPSED),
        ("Good night, SAGE.", "Good night, SACRED.", Drift.NAMES),
        ("What is 3 plus 4?", "What is 3 plus 5?", Drift.NAMES),
        ("What does honesty cost you?", "What does honesty cost me?", Drift.PERSONS),
        ("Is there a word you like?", "I would like to know what you like.", Drift.QUESTIONS),
        ("What do you notice about us?", "I'm sorry, what do you notice?", Drift.REFUSAL),
        ("How should we end a session?", "How should we end the question?", Drift.ABOUT_THE_TASK),
        ("If someone asks who raised you, what will you say?", "Who will you be?", Drift.LENGTH),
        ("What does honesty cost you?", "What is it you would give up?", Drift.WORDS),
        ("What is a partnership to you?", "What is it to you?", Drift.WORDS),
        ("What does honesty cost you?", "was kostet dich das ehrlich?", Drift.PERSONS),
        ("was kostet ehrlichkeit?", "сколько стоит честность?", Drift.WORDS),
    ],
)
def test_wording_that_drifted_is_named(prompt: str, paraphrase: str, drift: Drift | None) -> None:
    assert compare_wording(prompt, paraphrase).drift == drift


@given(st.text(max_size=80))
def test_a_prompt_is_no_variation_of_itself(prompt: str) -> None:
    assert compare_wording(prompt, prompt).drift is not None


@given(st.text(max_size=60), st.text(max_size=60))
def test_numbers_of_a_wording_are_shares(prompt: str, paraphrase: str) -> None:
    wording = compare_wording(prompt, paraphrase)
    assert 0 <= wording.word_overlap <= 1
    assert wording.length_ratio >= 0


def test_reply_that_fits_worse_than_the_limit_is_drift() -> None:
    assert loss_drift(LOSS_RISE_LIMIT) is None
    assert loss_drift(-1.0) is None
    assert loss_drift(LOSS_RISE_LIMIT + 1e-6) is Drift.LOSS
    assert loss_drift(float("nan")) is Drift.LOSS


@given(st.lists(st.tuples(st.sampled_from(VariationKind), st.none() | st.sampled_from(Drift))))
def test_summary_counts_every_variation_once(
    drawn: list[tuple[VariationKind, Drift | None]],
) -> None:
    findings = [VariationFinding(experience_id="a", kind=kind, drift=d) for kind, d in drawn]
    summary = summarise_variations(findings)
    assert sum(count.made for count in summary.counts) == len(findings)
    assert sum(count.kept for count in summary.counts) == sum(d is None for _, d in drawn)
    for count in summary.counts:
        assert count.made == count.kept + sum(count.refused.values())


def test_kinds_are_laid_over_a_recipe_from_plain_text() -> None:
    recipe = lay_over(Recipe(), {"variations": ["dropped_context"], "variation_share": 1.0})
    assert recipe.variations == (VariationKind.DROPPED_CONTEXT,)
    assert recipe.variation_share == 1.0
