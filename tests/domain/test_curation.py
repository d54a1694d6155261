"""Curation: no prompt and no phase has more than its share, and nothing is lost for it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.domain.curation import MIN_ALIKE, Curated, Traits, limit_shares, prompt_key
from app.domain.selection import Candidate


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(seq=n, id=f"e{n}", content_sha256=f"h{n}", total=1 - n / 1000)
        for n in range(count)
    ]


def curate(
    prompts: list[int],
    *,
    phases: list[str | None] | None = None,
    limit: int = 1000,
    prompt_share: float = 0.25,
    phase_share: float = 1.0,
) -> Curated:
    named = phases or [None] * len(prompts)
    traits = {
        n: Traits(prompt_key=str(prompt), phase=phase)
        for n, (prompt, phase) in enumerate(zip(prompts, named, strict=True))
    }
    return limit_shares(
        candidates(len(prompts)),
        traits,
        limit=limit,
        max_prompt_share=prompt_share,
        max_phase_share=phase_share,
    )


@given(
    st.lists(st.integers(0, 8), max_size=120),
    st.integers(1, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_no_prompt_has_more_than_its_share_of_what_is_taken(
    prompts: list[int], limit: int, share: float
) -> None:
    taken = curate(prompts, limit=limit, prompt_share=share)
    counts = Counter(prompts[item.seq] for item in taken.kept)
    assert all(n <= max(MIN_ALIKE, share * len(taken.kept)) for n in counts.values())
    assert len(taken.kept) <= limit
    assert bool(taken.kept) == bool(prompts)
    assert [item.seq for item in taken.kept] == sorted(item.seq for item in taken.kept)
    left = [name for rule in taken.left_out for name in rule.experience_ids]
    assert not {item.id for item in taken.kept} & set(left)
    assert len(left) == len(set(left))


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 100))
def test_without_rules_the_most_salient_are_taken(prompts: list[int], limit: int) -> None:
    taken = curate(prompts, limit=limit, prompt_share=1.0)
    assert [item.seq for item in taken.kept] == list(range(min(limit, len(prompts))))
    assert taken.left_out == ()


def test_others_come_in_for_a_flood_and_the_rule_says_its_numbers() -> None:
    taken = curate([0] * 40 + list(range(1, 41)), limit=40)
    assert Counter(item.seq < 40 for item in taken.kept) == {True: 10, False: 30}
    (rule,) = taken.left_out
    assert rule.rule == "prompt_share"
    assert rule.experience_ids == tuple(f"e{n}" for n in range(10, 40))
    assert rule.text == "30 left out: at most 10 of 40 of one prompt, 25% and never fewer than 4"


def test_few_prompts_are_no_reason_not_to_learn() -> None:
    assert len(curate([0] * 50).kept) == MIN_ALIKE
    assert len(curate([0, 1, 2] * 20).kept) == 3 * MIN_ALIKE


def test_a_phase_has_its_share_and_no_phase_is_none() -> None:
    phases = ["grounding"] * 20 + ["relating"] * 5 + [None] * 15
    taken = curate(list(range(40)), phases=phases, phase_share=0.5)
    counts = Counter(phases[item.seq] for item in taken.kept)
    assert counts["grounding"] <= len(taken.kept) / 2
    assert counts[None] == 15
    assert [rule.rule for rule in taken.left_out] == []
    taken = curate(list(range(40)), phases=phases, phase_share=0.25)
    assert [rule.rule for rule in taken.left_out] == ["phase_share"]


def test_case_and_white_space_make_no_other_prompt() -> None:
    assert prompt_key("Who  are you?\n") == prompt_key("who are YOU?")
    assert prompt_key("Who are you?") != prompt_key("Who are we?")
