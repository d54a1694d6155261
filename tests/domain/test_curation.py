"""Curation: what a cycle takes keeps every rule, and what it leaves out is named with numbers."""

from __future__ import annotations

import math
from collections import Counter, UserDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.domain.curation import MIN_ALIKE, NEAR_COPIES, Curated, curate
from app.domain.near_copies import sketch
from app.domain.policy import SleepPolicy
from app.domain.selection import Candidate
from app.domain.traits import MIN_COMPARED_WORDS, CurationRules, TraitReader, Traits, prompt_key

REPLIES = [f"On day {n} the fan of house{n} hummed a tone{n} of its own." for n in range(6)]
"""Short replies of which no two are near copies."""


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(seq=n, id=f"e{n}", content_sha256=f"h{n}", total=1 - n / 1000)
        for n in range(count)
    ]


def traits_of(
    prompts: Sequence[int],
    *,
    phases: Sequence[str | None] | None = None,
    categories: Sequence[frozenset[str]] | None = None,
    replies: Sequence[str] | None = None,
) -> dict[int, Traits]:
    return {
        n: Traits(
            prompt_key=str(prompt),
            phase=phases[n] if phases else None,
            categories=categories[n] if categories else frozenset(),
            sketch=sketch(replies[n].split()) if replies else None,
        )
        for n, prompt in enumerate(prompts)
    }


def take(
    prompts: list[int],
    *,
    phases: list[str | None] | None = None,
    limit: int = 1000,
    prompt_share: float = 0.25,
    phase_share: float = 1.0,
) -> Curated:
    rules = CurationRules(max_prompt_share=prompt_share, max_phase_share=phase_share)
    pool = candidates(len(prompts))
    return curate(pool, traits_of(prompts, phases=phases), rules, limit=limit)


@given(
    st.lists(st.integers(0, 8), max_size=120),
    st.integers(1, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_no_prompt_has_more_than_its_share_of_what_is_taken(
    prompts: list[int], limit: int, share: float
) -> None:
    taken = take(prompts, limit=limit, prompt_share=share)
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
    taken = take(prompts, limit=limit, prompt_share=1.0)
    assert [item.seq for item in taken.kept] == list(range(min(limit, len(prompts))))
    assert taken.left_out == ()


def test_others_come_in_for_a_flood_and_the_rule_says_its_numbers() -> None:
    taken = take([0] * 40 + list(range(1, 41)), limit=40)
    assert Counter(item.seq < 40 for item in taken.kept) == {True: 10, False: 30}
    (rule,) = taken.left_out
    assert rule.rule == "prompt_share"
    assert rule.experience_ids == tuple(f"e{n}" for n in range(10, 40))
    assert rule.text == "30 left out: at most 10 of 40 of one prompt, 25% and never fewer than 4"


def test_few_prompts_are_no_reason_not_to_learn() -> None:
    assert len(take([0] * 50).kept) == MIN_ALIKE
    assert len(take([0, 1, 2] * 20).kept) == 3 * MIN_ALIKE


def test_a_phase_has_its_share_and_no_phase_is_none() -> None:
    phases = ["grounding"] * 20 + ["relating"] * 5 + [None] * 15
    taken = take(list(range(40)), phases=phases, phase_share=0.5)
    counts = Counter(phases[item.seq] for item in taken.kept)
    assert counts["grounding"] <= len(taken.kept) / 2
    assert counts[None] == 15
    assert [rule.rule for rule in taken.left_out] == []
    taken = take(list(range(40)), phases=phases, phase_share=0.25)
    assert [rule.rule for rule in taken.left_out] == ["phase_share"]


def test_case_and_white_space_make_no_other_prompt() -> None:
    assert prompt_key("Who  are you?\n") == prompt_key("who are YOU?")
    assert prompt_key("Who are you?") != prompt_key("Who are we?")


@given(st.lists(st.sampled_from(REPLIES), max_size=60), st.integers(1, 40))
def test_no_two_of_what_is_taken_are_near_copies_and_each_copy_has_its_like(
    replies: list[str], limit: int
) -> None:
    rules = CurationRules(near_duplicate_jaccard=0.8)
    traits = traits_of(range(len(replies)), replies=replies)
    taken = curate(candidates(len(replies)), traits, rules, limit=limit)
    said = [replies[item.seq] for item in taken.kept]
    assert len(said) == len(set(said)) == min(limit, len(set(replies)))
    kept = {item.id: replies[item.seq] for item in taken.kept}
    for rule in taken.left_out:
        assert rule.rule == NEAR_COPIES
        for copy, like in zip(rule.experience_ids, rule.near_ids, strict=True):
            assert kept[like] == replies[int(copy[1:])]
            assert int(like[1:]) < int(copy[1:])


def test_copies_say_their_numbers_and_are_no_matter_where_the_rule_is_off() -> None:
    traits = traits_of(range(4), replies=[REPLIES[0]] * 3 + [REPLIES[1]])
    taken = curate(candidates(4), traits, CurationRules(near_duplicate_jaccard=0.8), limit=10)
    (rule,) = taken.left_out
    assert rule.text == (
        "2 left out: near copies of replies that are taken, Jaccard similarity 0.80 or more"
    )
    assert (rule.experience_ids, rule.near_ids) == (("e1", "e2"), ("e0", "e0"))
    assert len(curate(candidates(4), traits, CurationRules(), limit=10).kept) == 4


def test_a_copy_is_one_also_where_its_share_is_full_or_its_like_comes_later() -> None:
    replies = [*REPLIES[:4], REPLIES[0], REPLIES[4], REPLIES[5], REPLIES[4]]
    traits = traits_of([0, 0, 0, 0, 0, 0, 0, 1], replies=replies)
    rules = CurationRules(max_prompt_share=0.1, near_duplicate_jaccard=0.8)
    taken = curate(candidates(8), traits, rules, limit=5)
    assert [item.seq for item in taken.kept] == [0, 1, 2, 3, 7]
    copies, share = taken.left_out
    assert (copies.experience_ids, copies.near_ids) == (("e4", "e5"), ("e0", "e7"))
    assert (share.rule, share.experience_ids) == ("prompt_share", ("e6",))


def test_of_a_share_only_what_still_counts_is_named_and_of_copies_all() -> None:
    pool = [replace(item, is_counted=item.seq < 7) for item in candidates(9)]
    traits = traits_of(
        [0] * 9, replies=[*REPLIES, "An owl sat by. " * 3, REPLIES[0], "A cat. " * 9]
    )
    rules = CurationRules(max_prompt_share=0.1, near_duplicate_jaccard=0.8)
    copies, share = curate(pool, traits, rules, limit=9).left_out
    assert copies.experience_ids == ("e7",)
    assert share.experience_ids == ("e4", "e5", "e6")
    assert share.text.startswith("3 left out: at most 4 of 4 ")


def test_short_replies_to_many_prompts_are_no_copies_of_each_other() -> None:
    rules = CurationRules(near_duplicate_jaccard=0.8)
    reader = TraitReader(rules)
    for reply, kept in (("No.", 50), ("\N{OWL}", 50), ("word " * MIN_COMPARED_WORDS, 1)):
        traits = {n: reader.read(prompt=f"Day {n}?", response=reply, phase=None) for n in range(50)}
        assert len(curate(candidates(50), traits, rules, limit=50).kept) == kept


class Counted(UserDict[int, Traits]):
    """Traits that count how often a candidate is looked at."""

    looks = 0

    def __getitem__(self, key: int) -> Traits:
        self.looks += 1
        return super().__getitem__(key)


def test_a_cycle_that_shares_shrink_by_little_each_time_is_not_filled_a_hundred_times() -> None:
    pool = candidates(1024)
    traits = Counted(traits_of(range(1024), phases=[f"phase{n % 3}" for n in range(1024)]))
    taken = curate(pool, traits, CurationRules(max_phase_share=0.33), limit=256)
    assert 11 <= len(taken.kept) <= 3 * MIN_ALIKE
    assert traits.looks < 40 * len(pool)


def test_copies_beyond_the_limit_are_found_so_that_no_later_cycle_trains_them() -> None:
    traits = traits_of(range(4), replies=[*REPLIES[:3], REPLIES[0]])
    taken = curate(candidates(4), traits, CurationRules(near_duplicate_jaccard=0.8), limit=2)
    assert [item.seq for item in taken.kept] == [0, 1]
    assert taken.left_out[0].experience_ids == ("e3",)


def test_copies_of_what_a_floor_brought_in_are_found_too() -> None:
    identity = frozenset({"identity"})
    traits = traits_of(
        range(4),
        categories=[frozenset(), frozenset(), identity, identity],
        replies=[*REPLIES[:3], REPLIES[2]],
    )
    rules = CurationRules(near_duplicate_jaccard=0.8, category_floors={"identity": 0.5})
    taken = curate(candidates(4), traits, rules, limit=2)
    assert [item.seq for item in taken.kept] == [0, 2]
    (rule,) = taken.left_out
    assert (rule.experience_ids, rule.near_ids) == (("e3",), ("e2",))


CATEGORIES = st.lists(
    st.frozensets(st.sampled_from(["identity", "uncertainty"])), min_size=1, max_size=80
)


@given(
    CATEGORIES,
    st.integers(1, 60),
    st.floats(0.01, 0.5),
    st.floats(0.01, 0.5),
    st.lists(st.integers(0, 20), min_size=80, max_size=80),
)
def test_a_floor_is_met_or_says_that_it_is_not_and_breaks_no_other_rule(
    categories: list[frozenset[str]],
    limit: int,
    identity: float,
    uncertainty: float,
    prompts: list[int],
) -> None:
    floors = {"identity": identity, "uncertainty": uncertainty}
    pool = candidates(len(categories))
    traits = traits_of(prompts[: len(pool)], categories=categories)
    rules = CurationRules(max_prompt_share=0.3, category_floors=floors)
    taken = curate(pool, traits, rules, limit=limit)
    plain = curate(pool, traits, CurationRules(max_prompt_share=0.3), limit=limit)
    assert len(taken.kept) == len(plain.kept)
    assert [item.seq for item in taken.kept] == sorted(item.seq for item in taken.kept)
    alike = Counter(prompts[item.seq] for item in taken.kept)
    assert all(n <= max(MIN_ALIKE, 0.3 * len(taken.kept)) for n in alike.values())
    ids = {item.id for item in taken.kept}
    assert not ids & {name for rule in taken.left_out for name in rule.experience_ids}
    for floor in taken.floors:
        found = sum(floor.category in categories[item.seq] for item in taken.kept)
        need = math.ceil(floors[floor.category] * len(taken.kept) - 1e-9)
        assert floor.is_met == (found >= need)
        assert floor.is_met == ("no more could be taken" not in floor.text)
        assert set(floor.experience_ids) <= ids
        before = sum(floor.category in categories[item.seq] for item in plain.kept)
        assert found >= min(before, need)


@given(CATEGORIES, st.integers(1, 60), st.floats(0.01, 1.0))
def test_a_floor_alone_is_met_wherever_the_pool_allows_it(
    categories: list[frozenset[str]], limit: int, floor: float
) -> None:
    pool = candidates(len(categories))
    rules = CurationRules(category_floors={"identity": floor})
    taken = curate(pool, traits_of(range(len(pool)), categories=categories), rules, limit=limit)
    have = [n for n, found in enumerate(categories) if "identity" in found]
    need = min(math.ceil(floor * len(taken.kept) - 1e-9), len(have))
    mine = [item.seq for item in taken.kept if "identity" in categories[item.seq]]
    assert len(mine) >= need
    assert mine == have[: len(mine)]


def test_a_floor_takes_the_place_of_the_least_salient_and_says_so() -> None:
    categories = [frozenset[str]()] * 15 + [frozenset({"identity"})] * 2
    rules = CurationRules(category_floors={"identity": 0.3})
    taken = curate(candidates(17), traits_of(range(17), categories=categories), rules, limit=10)
    assert [item.seq for item in taken.kept] == [*range(8), 15, 16]
    (floor,) = taken.floors
    assert not floor.is_met
    assert floor.experience_ids == ("e15", "e16")
    assert floor.text == (
        "identity: 2 of 10, at least 30% (3); 2 of them in place of more salient others; "
        "no more could be taken of the 17 candidates"
    )


def test_replies_that_begin_alike_have_their_share() -> None:
    reader = TraitReader(CurationRules(max_pattern_share=0.25))
    replies = [f"As SAGE, I notice thing{n}." for n in range(20)]
    replies += [f"Word{n} is another beginning." for n in range(20)]
    traits: Mapping[int, Traits] = {
        n: reader.read(prompt=f"Day {n}?", response=reply, phase=None)
        for n, reply in enumerate(replies)
    }
    taken = curate(candidates(40), traits, CurationRules(max_pattern_share=0.25), limit=16)
    assert Counter(item.seq < 20 for item in taken.kept) == {True: 4, False: 12}
    assert taken.left_out[0].text == (
        "16 left out: at most 4 of 16 whose replies begin with the same 4 words, "
        "25% and never fewer than 4"
    )


def test_a_policy_without_floors_asks_for_no_categories() -> None:
    rules = CurationRules.of(SleepPolicy(category_floors={"identity": 0.0}))
    assert (rules.category_floors, rules.categories) == ({}, {})
    off = SleepPolicy(max_prompt_share=1.0, near_duplicate_jaccard=1.0)
    assert CurationRules.of(off).is_none
