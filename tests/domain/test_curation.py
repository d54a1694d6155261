"""Curation keeps its rules and names what it leaves out; long, since any two rules can meet."""

from __future__ import annotations

import math
from collections import Counter, UserDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.curation import MIN_ALIKE, NEAR_COPIES, Curated, curate, find_idle, pool_size
from app.domain.near_copies import sketch
from app.domain.policy import SleepPolicy
from app.domain.selection import Selectable
from app.domain.traits import CurationRules, TraitReader, Traits, prompt_key

REPLIES = [f"On day {n} the fan of house{n} hummed a tone{n} of its own." for n in range(6)]
"""Short replies of which no two are near copies."""


def experiences(count: int) -> list[Selectable]:
    return [
        Selectable(seq=n, id=f"e{n}", content_sha256=f"h{n}", total=1 - n / 1000)
        for n in range(count)
    ]


def as_written(share: float) -> Fraction:
    return Fraction(str(share))


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
    pool = experiences(len(prompts))
    return curate(pool, traits_of(prompts, phases=phases), rules, limit=limit)


@given(
    st.lists(st.integers(0, 8), max_size=120),
    st.integers(1, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_no_prompt_has_more_than_its_share_of_what_is_taken(
    prompts: list[int], limit: int, share: float
) -> None:
    cycle = take(prompts, limit=limit, prompt_share=share)
    counts = Counter(prompts[item.seq] for item in cycle.taken)
    assert all(n <= MIN_ALIKE or n <= as_written(share) * len(cycle.taken) for n in counts.values())
    assert len(cycle.taken) <= limit
    assert bool(cycle.taken) == bool(prompts)
    assert [item.seq for item in cycle.taken] == sorted(item.seq for item in cycle.taken)
    left = [name for rule in cycle.left_out for name in rule.experience_ids]
    assert not {item.id for item in cycle.taken} & set(left)
    assert len(left) == len(set(left))


@given(st.lists(st.integers(0, 8), max_size=60), st.integers(1, 100))
def test_without_rules_the_most_salient_are_taken(prompts: list[int], limit: int) -> None:
    cycle = take(prompts, limit=limit, prompt_share=1.0)
    assert [item.seq for item in cycle.taken] == list(range(min(limit, len(prompts))))
    assert cycle.left_out == ()


def test_others_come_in_for_a_flood_and_the_rule_says_its_numbers() -> None:
    cycle = take([0] * 40 + list(range(1, 41)), limit=40)
    assert Counter(item.seq < 40 for item in cycle.taken) == {True: 10, False: 30}
    (rule,) = cycle.left_out
    assert rule.rule == "prompt_share"
    assert rule.experience_ids == tuple(f"e{n}" for n in range(10, 40))
    assert rule.text == "30 left out: at most 10 of 40 of one prompt, 25% and never fewer than 4"


def test_four_of_one_prompt_are_always_taken() -> None:
    assert len(take([0] * 50).taken) == MIN_ALIKE == 4
    assert len(take([0, 1, 2] * 20).taken) == 12


def test_a_share_is_the_decimal_that_it_was_written_as() -> None:
    """0.29 * 100 is less than 29 in binary, and 0.1 * 30 more than 3."""
    cycle = take([0] * 100 + list(range(1, 100)), limit=100, prompt_share=0.29)
    assert sum(item.seq < 100 for item in cycle.taken) == 29
    categories = [frozenset[str]()] * 27 + [frozenset({"identity"})] * 3
    rules = CurationRules(category_floors={"identity": 0.1})
    floored = curate(experiences(30), traits_of(range(30), categories=categories), rules, limit=30)
    assert floored.floors[0].text == "identity: 3 of 30, at least 10% (3)"


@pytest.mark.parametrize(
    ("limit", "looked_at"), [(1, 4), (10, 40), (85, 340), (86, 342), (256, 512), (4096, 4352)]
)
def test_three_more_are_looked_at_for_each_and_no_more_than_256(limit: int, looked_at: int) -> None:
    assert pool_size(limit) == looked_at


def test_from_the_eighth_pass_on_a_cycle_shrinks_by_an_eighth() -> None:
    """Of 1000 at most 95 % are of one phase, and 20 of none: 970, 941, 913, 887, 862, 838, 816.

    Then by an eighth: 714, 624, 546, 477, 417, 364, of which 345 and 20 are enough.
    """
    phases = [None] * 20 + ["grounding"] * 1000
    cycle = take(list(range(1020)), phases=phases, phase_share=0.95, limit=1000)
    assert len(cycle.taken) == 364


def test_a_phase_has_its_share_and_no_phase_is_none() -> None:
    phases = ["grounding"] * 20 + ["relating"] * 5 + [None] * 15
    cycle = take(list(range(40)), phases=phases, phase_share=0.5)
    counts = Counter(phases[item.seq] for item in cycle.taken)
    assert counts["grounding"] <= len(cycle.taken) / 2
    assert counts[None] == 15
    assert [rule.rule for rule in cycle.left_out] == []
    cycle = take(list(range(40)), phases=phases, phase_share=0.25)
    assert [rule.rule for rule in cycle.left_out] == ["phase_share"]


def test_case_and_white_space_make_no_other_prompt() -> None:
    assert prompt_key("Who  are you?\n") == prompt_key("who are YOU?")
    assert prompt_key("Who are you?") != prompt_key("Who are we?")


@given(st.lists(st.sampled_from(REPLIES), max_size=60), st.integers(1, 40))
def test_no_two_of_what_is_taken_are_near_copies_and_each_copy_has_its_like(
    replies: list[str], limit: int
) -> None:
    rules = CurationRules(near_duplicate_jaccard=0.8)
    traits = traits_of(range(len(replies)), replies=replies)
    cycle = curate(experiences(len(replies)), traits, rules, limit=limit)
    said = [replies[item.seq] for item in cycle.taken]
    assert len(said) == len(set(said)) == min(limit, len(set(replies)))
    kept = {item.id: replies[item.seq] for item in cycle.taken}
    for rule in cycle.left_out:
        assert rule.rule == NEAR_COPIES
        for copy, like in zip(rule.experience_ids, rule.near_ids, strict=True):
            assert kept[like] == replies[int(copy[1:])]
            assert int(like[1:]) < int(copy[1:])


def test_copies_say_their_numbers_and_are_no_matter_where_the_rule_is_off() -> None:
    traits = traits_of(range(4), replies=[REPLIES[0]] * 3 + [REPLIES[1]])
    cycle = curate(experiences(4), traits, CurationRules(near_duplicate_jaccard=0.8), limit=10)
    (rule,) = cycle.left_out
    assert rule.text == (
        "2 left out: near copies of replies that are taken, Jaccard similarity 0.80 or more"
    )
    assert (rule.experience_ids, rule.near_ids) == (("e1", "e2"), ("e0", "e0"))
    assert len(curate(experiences(4), traits, CurationRules(), limit=10).taken) == 4


def test_a_copy_is_one_also_where_its_share_is_full_or_its_like_comes_later() -> None:
    replies = [*REPLIES[:4], REPLIES[0], REPLIES[4], REPLIES[5], REPLIES[4]]
    traits = traits_of([0, 0, 0, 0, 0, 0, 0, 1], replies=replies)
    rules = CurationRules(max_prompt_share=0.1, near_duplicate_jaccard=0.8)
    cycle = curate(experiences(8), traits, rules, limit=5)
    assert [item.seq for item in cycle.taken] == [0, 1, 2, 3, 7]
    copies, share = cycle.left_out
    assert (copies.experience_ids, copies.near_ids) == (("e4", "e5"), ("e0", "e7"))
    assert (share.rule, share.experience_ids) == ("prompt_share", ("e6",))


def test_of_a_share_only_what_still_counts_is_named_and_of_copies_all() -> None:
    pool = [replace(item, is_counted=item.seq < 7) for item in experiences(9)]
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
    for reply, kept in (
        ("No.", 50),
        ("\N{OWL}", 50),
        ("word " * 7, 50),
        ("word " * 8, 1),
        ("word " * 9, 1),
    ):
        traits = {n: reader.read(prompt=f"Day {n}?", response=reply, phase=None) for n in range(50)}
        assert len(curate(experiences(50), traits, rules, limit=50).taken) == kept


class Counted(UserDict[int, Traits]):
    """Traits that count how often an experience is looked at."""

    looks = 0

    def __getitem__(self, key: int) -> Traits:
        self.looks += 1
        return super().__getitem__(key)


def test_a_cycle_that_shares_shrink_by_little_each_time_is_not_filled_a_hundred_times() -> None:
    pool = experiences(1024)
    traits = Counted(traits_of(range(1024), phases=[f"phase{n % 3}" for n in range(1024)]))
    cycle = curate(pool, traits, CurationRules(max_phase_share=0.33), limit=256)
    assert 11 <= len(cycle.taken) <= 3 * MIN_ALIKE
    assert traits.looks < 40 * len(pool)


def test_copies_beyond_the_limit_are_found_so_that_no_later_cycle_trains_them() -> None:
    traits = traits_of(range(4), replies=[*REPLIES[:3], REPLIES[0]])
    cycle = curate(experiences(4), traits, CurationRules(near_duplicate_jaccard=0.8), limit=2)
    assert [item.seq for item in cycle.taken] == [0, 1]
    assert cycle.left_out[0].experience_ids == ("e3",)


def test_copies_of_what_a_floor_brought_in_are_found_too() -> None:
    identity = frozenset({"identity"})
    traits = traits_of(
        range(4),
        categories=[frozenset(), frozenset(), identity, identity],
        replies=[*REPLIES[:3], REPLIES[2]],
    )
    rules = CurationRules(near_duplicate_jaccard=0.8, category_floors={"identity": 0.5})
    cycle = curate(experiences(4), traits, rules, limit=2)
    assert [item.seq for item in cycle.taken] == [0, 2]
    (rule,) = cycle.left_out
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
    pool = experiences(len(categories))
    traits = traits_of(prompts[: len(pool)], categories=categories)
    rules = CurationRules(max_prompt_share=0.3, category_floors=floors)
    cycle = curate(pool, traits, rules, limit=limit)
    plain = curate(pool, traits, CurationRules(max_prompt_share=0.3), limit=limit)
    assert len(cycle.taken) == len(plain.taken)
    assert [item.seq for item in cycle.taken] == sorted(item.seq for item in cycle.taken)
    alike = Counter(prompts[item.seq] for item in cycle.taken)
    assert all(n <= max(MIN_ALIKE, 0.3 * len(cycle.taken)) for n in alike.values())
    ids = {item.id for item in cycle.taken}
    assert not ids & {name for rule in cycle.left_out for name in rule.experience_ids}
    for floor in cycle.floors:
        found = sum(floor.category in categories[item.seq] for item in cycle.taken)
        need = math.ceil(as_written(floors[floor.category]) * len(cycle.taken))
        assert floor.is_met == (found >= need)
        assert floor.is_met == ("no more could be taken" not in floor.text)
        assert set(floor.experience_ids) <= ids
        before = sum(floor.category in categories[item.seq] for item in plain.taken)
        assert found >= min(before, need)


@given(CATEGORIES, st.integers(1, 60), st.floats(0.01, 1.0))
def test_a_floor_alone_is_met_wherever_the_pool_allows_it(
    categories: list[frozenset[str]], limit: int, floor: float
) -> None:
    pool = experiences(len(categories))
    rules = CurationRules(category_floors={"identity": floor})
    cycle = curate(pool, traits_of(range(len(pool)), categories=categories), rules, limit=limit)
    have = [n for n, found in enumerate(categories) if "identity" in found]
    need = min(math.ceil(as_written(floor) * len(cycle.taken)), len(have))
    mine = [item.seq for item in cycle.taken if "identity" in categories[item.seq]]
    assert len(mine) >= need
    assert mine == have[: len(mine)]


@pytest.mark.parametrize(
    ("said", "identity", "uncertainty", "taken"),
    [
        ("iiii i", 0.5, 0.0, [0, 1, 2, 3]),  # more than the floor asks for is no matter
        ("ii-- i", 0.5, 0.0, [0, 1, 2, 3]),  # as much as it asks for is enough
        ("i--- i", 0.5, 0.0, [0, 1, 2, 4]),
        ("-uuu i", 0.25, 0.25, [0, 1, 2, 4]),  # the last goes, since its floor has more
        ("---u i", 0.25, 0.25, [0, 1, 3, 4]),  # the last stays, since its floor has no more
        ("uuuu i", 0.25, 1.0, [0, 1, 2, 3]),  # nobody can be spared
    ],
)
def test_a_floor_spares_the_last_that_no_floor_needs(
    said: str, identity: float, uncertainty: float, taken: list[int]
) -> None:
    names = {"i": frozenset({"identity"}), "u": frozenset({"uncertainty"})}
    categories = [names.get(letter, frozenset[str]()) for letter in said.replace(" ", "")]
    floors = {"identity": identity, "uncertainty": uncertainty}
    rules = CurationRules(category_floors={name: floor for name, floor in floors.items() if floor})
    traits = traits_of(range(len(categories)), categories=categories)
    cycle = curate(experiences(len(categories)), traits, rules, limit=4)
    assert [item.seq for item in cycle.taken] == taken
    for floor in cycle.floors:
        found = sum(floor.category in categories[seq] for seq in taken)
        assert floor.text.startswith(f"{floor.category}: {found} of 4, ")


def test_what_a_floor_brings_in_may_have_the_share_of_what_it_replaces() -> None:
    identity = frozenset({"identity"})
    categories = [frozenset[str]()] * 8 + [identity]
    traits = traits_of([0, 0, 0, 1, 2, 3, 4, 0, 0], categories=categories)
    rules = CurationRules(max_prompt_share=0.5, category_floors={"identity": 0.125})
    cycle = curate(experiences(9), traits, rules, limit=8)
    assert [item.seq for item in cycle.taken] == [0, 1, 2, 3, 4, 5, 6, 8]


def test_a_floor_brings_in_no_near_copy() -> None:
    identity = frozenset({"identity"})
    traits = traits_of(
        range(4),
        categories=[frozenset(), frozenset(), frozenset(), identity],
        replies=[*REPLIES[:3], REPLIES[0]],
    )
    rules = CurationRules(near_duplicate_jaccard=0.8, category_floors={"identity": 0.3})
    cycle = curate(experiences(4), traits, rules, limit=3)
    assert [item.seq for item in cycle.taken] == [0, 1, 2]
    assert not cycle.floors[0].is_met


def test_traits_are_the_phase_and_the_categories_that_the_rules_know() -> None:
    reader = TraitReader(CurationRules(categories={"identity": ["who are you"]}))
    traits = reader.read(prompt="Who are you?", response="A fan.", phase="relating")
    assert (traits.phase, traits.categories) == ("relating", frozenset({"identity"}))
    assert reader.read(prompt="What?", response="A fan.", phase="").phase is None


def test_of_what_is_left_out_only_what_counts_towards_the_mass_is_idle() -> None:
    pool = experiences(5)
    pool[4] = replace(pool[4], is_counted=False)
    traits = traits_of(range(5), replies=[*REPLIES[:3], REPLIES[0], REPLIES[0]])
    cycle = curate(pool, traits, CurationRules(near_duplicate_jaccard=0.8), limit=2)
    assert cycle.left_out[0].experience_ids == ("e3", "e4")
    assert find_idle(pool, cycle) == (pool[3],)


def test_what_nobody_looked_at_in_a_full_cycle_was_left_out_by_no_rule() -> None:
    assert take([0, 0, 0, 0, 1, 2, 3, 4, 0], limit=8).left_out == ()


def test_a_floor_takes_the_place_of_the_least_salient_and_says_so() -> None:
    categories = [frozenset[str]()] * 15 + [frozenset({"identity"})] * 2
    rules = CurationRules(category_floors={"identity": 0.3})
    cycle = curate(experiences(17), traits_of(range(17), categories=categories), rules, limit=10)
    assert [item.seq for item in cycle.taken] == [*range(8), 15, 16]
    (floor,) = cycle.floors
    assert not floor.is_met
    assert floor.experience_ids == ("e15", "e16")
    assert floor.text == (
        "identity: 2 of 10, at least 30% (3); 2 of them in place of more salient others; "
        "no more could be taken of the 17 that wait"
    )


def test_replies_that_begin_alike_have_their_share() -> None:
    reader = TraitReader(CurationRules(max_pattern_share=0.25))
    replies = [f"As SAGE, I notice thing{n}." for n in range(20)]
    replies += [f"Word{n} is another beginning." for n in range(20)]
    traits: Mapping[int, Traits] = {
        n: reader.read(prompt=f"Day {n}?", response=reply, phase=None)
        for n, reply in enumerate(replies)
    }
    cycle = curate(experiences(40), traits, CurationRules(max_pattern_share=0.25), limit=16)
    assert Counter(item.seq < 20 for item in cycle.taken) == {True: 4, False: 12}
    assert cycle.left_out[0].text == (
        "16 left out: at most 4 of 16 whose replies begin with the same 4 words, "
        "25% and never fewer than 4"
    )


def test_a_policy_without_floors_asks_for_no_categories() -> None:
    rules = CurationRules.of(SleepPolicy(category_floors={"identity": 0.0}))
    assert (rules.category_floors, rules.categories) == ({}, {})


def test_rules_are_those_of_the_policy_with_the_phrases_of_what_has_a_floor() -> None:
    policy = SleepPolicy(
        max_prompt_share=0.1,
        max_phase_share=0.2,
        max_pattern_share=0.3,
        near_duplicate_jaccard=0.6,
        category_floors={"identity": 0.01, "reality_testing": 0.0},
        categories={"identity": ("who are you",), "reality_testing": ("verify",)},
    )
    assert CurationRules.of(policy) == CurationRules(
        max_prompt_share=0.1,
        max_phase_share=0.2,
        max_pattern_share=0.3,
        near_duplicate_jaccard=0.6,
        category_floors={"identity": 0.01},
        categories={"identity": ("who are you",)},
    )


def test_without_any_rule_there_is_nothing_to_read() -> None:
    off = CurationRules.of(SleepPolicy(max_prompt_share=1.0, near_duplicate_jaccard=1.0))
    assert off.is_none is True
    assert CurationRules(max_phase_share=0.99).is_none is False
    assert TraitReader(off).read(prompt="?", response="a b c d e f g h", phase="").sketch is None


ZH = "我们昨天一起去看了大海，风很大，但是阳光非常好，大家都很开心。"
JA = "昨日は一緒に海を見に行きました。風は強かったのですが、とても楽しかったです。"
TH = "เมื่อวานเราไปดูทะเลด้วยกัน ลมแรงมากแต่แดดดีและทุกคนมีความสุข"
HI = "कल हम साथ में समुद्र देखने गए थे, हवा तेज़ थी लेकिन धूप बहुत अच्छी थी।"


@pytest.mark.parametrize(
    ("reply", "copy"),
    [
        (ZH, ZH.replace("风", "雨")),
        (ZH, ZH.replace("大海", "大\u200b海").replace("。", "．")),
        (JA, JA.replace("風", "雨")),
        (TH, TH.replace("แรง", "แรว")),
        (HI, HI.replace("तेज़", "तेज")),
        (
            "We all saw the river that day and went home.",
            "We all saw the rivers that day and went home.",
        ),
    ],
)
def test_copy_with_a_sign_changed_is_left_out_in_every_script(reply: str, copy: str) -> None:
    rules = CurationRules(near_duplicate_jaccard=0.99)
    reader = TraitReader(rules)
    texts = [reply, "An answer that says something else, and at some length.", copy]
    traits = {
        seq: reader.read(prompt=str(seq), response=text, phase=None)
        for seq, text in enumerate(texts)
    }
    (rule,) = curate(experiences(3), traits, rules, limit=3).left_out
    assert rule.rule == "near_copies"
    assert len(rule.experience_ids) == 1


def test_of_scripts_without_spaces_as_much_is_compared_as_of_others() -> None:
    reader = TraitReader(CurationRules(near_duplicate_jaccard=0.8))

    def read(text: str) -> Traits:
        return reader.read(prompt="?", response=text, phase=None)

    # Of Chinese 1.6 letters are a word: 8 words are 13 runs, 4 words are 6.
    assert read(ZH[:12]).sketch is None
    assert read(ZH[:12]).signs == ""
    assert read("我们昨天一起去看了大海风很大").sketch is not None
    assert read(ZH).pattern == "我们 们昨 昨天 天一 一起 起去"
    assert read(ZH).signs == ZH.replace("，", "").replace("。", "")
    assert read("One two three four five").pattern == "one two three four"
    assert read("a b c d e f g").sketch is None
    assert read("a b c d e f g h").signs == "abcdefgh"
