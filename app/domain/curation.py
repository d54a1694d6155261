"""What a cycle takes of what waits, so that no one prompt, phase or phrase makes up most of it.

Salience alone would train a flood of one exercise twenty times over, and perhaps nothing of what is
rarely said. Pure: experiences come with their traits, what counts towards the salience mass before
what an earlier cycle left out, of each the most salient first. In order of precedence: near copies
of what is taken, and what is more than a share, stay out; then floors bring in what is too rare, in
place of the last.

What is left out: a near copy teaches nothing more once its like is trained, so it waits on then,
named as its copy, and no cycle takes it while its like stands consolidated; also where it is more
than a share, or was left out before: a later cycle would train it. Where its like is erased, or
given back, it may be trained.
More of one prompt than a cycle takes is worth learning, and waits on; but the cycle that
left it out takes it from the salience mass, or the mass of a flood would start cycle after cycle
of `MIN_ALIKE` experiences, and the share would hold for each of them and not for what is learned.
It is named by that cycle alone.
Both happen when the cycle's experiences are consolidated; where it is rejected, nothing happened.
Where a candidate is dismissed later, what was trained comes back, and may be trained again for its
copies.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from app.domain.near_copies import TakenTexts
from app.domain.selection import Selectable
from app.domain.traits import PATTERN_WORDS, CurationRules, Traits

POOL_FACTOR = 4
MAX_POOL_EXTRA = 256
"""Experiences beyond what a cycle may take, so that others come in for those left out: three for
each, and no more than this, since their texts are read and compared: with three for each of 256,
selecting took more than 0.1 s (`tests/benchmarks/test_scale.py`)."""

MIN_ALIKE = 4
"""So many of one prompt, or phase, are no flood however small the cycle is: an instance that hears
few prompts learns still. A guess."""

NATURAL_PASSES = 8
MIN_SHRINKING = 1 / 8
"""After so many passes a cycle shrinks by at least this, so that one of 4,096 takes some fifty of
them at most; it may come out a little smaller than it might be."""

NEAR_COPIES = "near_copies"


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Experiences that a rule kept out of a cycle, and the rule with its numbers.

    Attributes:
        experience_ids: Of a share, those that count towards the salience mass.
        near_ids: Of near copies, what each is a copy of and was taken; else empty.
    """

    rule: str
    text: str
    experience_ids: tuple[str, ...]
    near_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """What a category's floor came to, in words; and what it brought in, in their order."""

    category: str
    is_met: bool
    text: str
    experience_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curated:
    """What a cycle takes, in the order of the pool, and what the rules did."""

    taken: tuple[Selectable, ...]
    left_out: tuple[LeftOut, ...]
    floors: tuple[Floor, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _ShareRule:
    """At most a share of what is taken may be alike in one trait; None is alike to nothing."""

    name: str
    words: str
    trait: Callable[[Traits], str | None]
    share: float


def find_idle(pool: Sequence[Selectable], curated: Curated) -> tuple[Selectable, ...]:
    """What counts towards the salience mass of a pool, and a cycle would leave out now."""
    left_out = {each for rule in curated.left_out for each in rule.experience_ids}
    return tuple(item for item in pool if item.is_counted and item.id in left_out)


def pool_size(limit: int) -> int:
    """How many experiences to look at for a cycle of this size."""
    return limit + min((POOL_FACTOR - 1) * limit, MAX_POOL_EXTRA)


def curate(
    pool: Sequence[Selectable], traits: Mapping[int, Traits], rules: CurationRules, *, limit: int
) -> Curated:
    """Take up to `limit` of the pool by the rules.

    A share is one of what is taken in the end: a cycle that loses much to a rule is smaller, and
    the rule is applied again to the smaller one. `MIN_ALIKE` are always allowed.

    Args:
        pool: In the order in which they are taken, perhaps more than `limit`.
        traits: By sequence number; an experience without any is alike to none and of no category.
        rules: Shares and floors, 0..1, and the Jaccard similarity of near copies.
    """
    shares = _share_rules(rules)
    wanted = min(limit, len(pool))
    cycle = _fill(pool, traits, rules, shares, wanted)
    brought_in = {
        category: _raise_to_floor(cycle, pool, category) for category in rules.category_floors
    }
    cycle.leave_out(pool, is_smaller=cycle.size < wanted)
    return Curated(
        taken=tuple(item for item in pool if item.seq in cycle.taken),
        left_out=_left_out(pool, cycle, shares, rules),
        floors=tuple(
            _floor(cycle, category, floor, brought_in[category], len(pool))
            for category, floor in rules.category_floors.items()
        ),
    )


def _share_rules(rules: CurationRules) -> tuple[_ShareRule, ...]:
    return (
        _ShareRule(
            name="prompt_share",
            words="of one prompt",
            trait=lambda traits: traits.prompt_key,
            share=rules.max_prompt_share,
        ),
        _ShareRule(
            name="phase_share",
            words="of one phase",
            trait=lambda traits: traits.phase,
            share=rules.max_phase_share,
        ),
        _ShareRule(
            name="pattern_share",
            words=f"whose replies begin with the same {PATTERN_WORDS} words",
            trait=lambda traits: traits.pattern,
            share=rules.max_pattern_share,
        ),
    )


def _fill(
    pool: Sequence[Selectable],
    traits: Mapping[int, Traits],
    rules: CurationRules,
    shares: Sequence[_ShareRule],
    size: int,
) -> _Cycle:
    """A cycle of this size, or of the first smaller one that its own shares let it fill."""
    cycle = _Cycle(traits, rules, shares, size)
    cycle.fill(pool)
    for number in itertools.count(1):
        if cycle.is_full:
            break
        size = len(cycle.taken)
        if number >= NATURAL_PASSES:
            size = min(size, int(cycle.size * (1 - MIN_SHRINKING)))
        cycle = _Cycle(traits, rules, shares, size)
        cycle.fill(pool)
    return cycle


class _Cycle:
    """A cycle of one size while it is filled.

    Attributes:
        over_share: What a full share keeps out, and its rule.
        copies: What is not taken and a near copy of what is, and that.
    """

    def __init__(
        self,
        traits: Mapping[int, Traits],
        rules: CurationRules,
        shares: Sequence[_ShareRule],
        size: int,
    ) -> None:
        self.size = size
        self.taken: dict[int, Selectable] = {}
        self.over_share: dict[int, str] = {}
        self.copies: list[tuple[Selectable, Selectable]] = []
        self.counts: Counter[str] = Counter()
        self.needs = {
            name: math.ceil(_as_written(floor) * size)
            for name, floor in rules.category_floors.items()
        }
        self.caps = {
            rule.name: max(MIN_ALIKE, math.floor(_as_written(rule.share) * size)) for rule in shares
        }
        self._seen: set[int] = set()
        self._shares = shares
        self._traits = traits
        self._alike: dict[str, Counter[str]] = {rule.name: Counter() for rule in shares}
        self._texts = TakenTexts(rules.near_duplicate_jaccard) if rules.compares_replies else None

    @property
    def is_full(self) -> bool:
        return len(self.taken) == self.size

    def fill(self, pool: Sequence[Selectable]) -> None:
        """Take in order what no rule leaves out."""
        for item in pool:
            if self.is_full:
                return
            self._seen.add(item.seq)
            rule = self.find_full_share(item)
            if rule is not None:
                self.over_share[item.seq] = rule
            elif self.find_like(item) is None:
                self.take(item)

    def leave_out(self, pool: Sequence[Selectable], *, is_smaller: bool) -> None:
        """Find out what keeps out what is not taken: a copy is one whatever its share.

        What was not looked at is looked at for copies, or a later cycle would train them.

        Args:
            is_smaller: Shares made the cycle smaller; then they keep out of the rest, too.
        """
        for item in pool:
            if item.seq in self.taken:
                continue
            like = self.find_like(item)
            if like is not None:
                self.copies.append((item, like))
                self.over_share.pop(item.seq, None)
            elif is_smaller and item.seq not in self._seen:
                rule = self.find_full_share(item)
                if rule is not None:
                    self.over_share[item.seq] = rule

    def find_full_share(self, item: Selectable) -> str | None:
        """The first rule of which no more like this one may be taken."""
        traits = self._traits.get(item.seq)
        if traits is None:
            return None
        for rule in self._shares:
            trait = rule.trait(traits)
            if trait is not None and self._alike[rule.name][trait] >= self.caps[rule.name]:
                return rule.name
        return None

    def find_like(self, item: Selectable) -> Selectable | None:
        """What was taken that this is a near copy of."""
        traits = self._traits.get(item.seq)
        if self._texts is None or traits is None or traits.sketch is None:
            return None
        near = self._texts.find_near(traits.sketch, traits.signs)
        return None if near is None else self.taken[near]

    def take(self, item: Selectable) -> None:
        self.taken[item.seq] = item
        self._count(item, 1)
        traits = self._traits.get(item.seq)
        if self._texts is not None and traits is not None and traits.sketch is not None:
            self._texts.add(item.seq, traits.sketch, traits.signs)

    def drop(self, item: Selectable) -> None:
        del self.taken[item.seq]
        self._count(item, -1)
        if self._texts is not None:
            self._texts.remove(item.seq)

    def categories_of(self, item: Selectable) -> frozenset[str]:
        traits = self._traits.get(item.seq)
        return frozenset() if traits is None else traits.categories

    def find_spare(self) -> Selectable | None:
        """The last that was taken and that no floor needs."""
        for item in reversed(self.taken.values()):
            floors = self.categories_of(item) & self.needs.keys()
            if all(self.counts[name] > self.needs[name] for name in floors):
                return item
        return None

    def _count(self, item: Selectable, change: int) -> None:
        traits = self._traits.get(item.seq)
        if traits is None:
            return
        self.counts.update(dict.fromkeys(traits.categories, change))
        for rule in self._shares:
            trait = rule.trait(traits)
            if trait is not None:
                self._alike[rule.name][trait] += change


def _as_written(share: float) -> Fraction:
    """A share as the decimal that it was written as: 0.29 of 100 are 29, and 0.1 of 30 are 3."""
    return Fraction(str(share))


def _raise_to_floor(cycle: _Cycle, pool: Sequence[Selectable], category: str) -> list[Selectable]:
    """Take the first of a category in place of the last that no floor needs."""
    brought_in: list[Selectable] = []
    for item in pool:
        if cycle.counts[category] >= cycle.needs[category]:
            return brought_in
        if item.seq in cycle.taken or category not in cycle.categories_of(item):
            continue
        spare = cycle.find_spare()
        if spare is None:
            return brought_in
        cycle.drop(spare)
        if cycle.find_full_share(item) is None and cycle.find_like(item) is None:
            cycle.take(item)
            brought_in.append(item)
        else:
            cycle.take(spare)
    return brought_in


def _floor(
    cycle: _Cycle, category: str, floor: float, brought_in: Sequence[Selectable], pool_size: int
) -> Floor:
    found, need = cycle.counts[category], cycle.needs[category]
    ids = tuple(item.id for item in brought_in if item.seq in cycle.taken)
    text = f"{category}: {found} of {cycle.size}, at least {floor:.0%} ({need})"
    if ids:
        text += f"; {len(ids)} of them in place of more salient others"
    if found < need:
        text += f"; no more could be taken of the {pool_size} that wait"
    return Floor(category=category, is_met=found >= need, text=text, experience_ids=ids)


def _left_out(
    pool: Sequence[Selectable], cycle: _Cycle, shares: Sequence[_ShareRule], rules: CurationRules
) -> tuple[LeftOut, ...]:
    """What a rule kept out; of shares, what still counts: the rest was named before."""
    found: list[LeftOut] = []
    if cycle.copies:
        found.append(
            LeftOut(
                rule=NEAR_COPIES,
                text=f"{len(cycle.copies)} left out: near copies of replies that are taken, "
                f"Jaccard similarity {rules.near_duplicate_jaccard:.2f} or more",
                experience_ids=tuple(copy.id for copy, _ in cycle.copies),
                near_ids=tuple(like.id for _, like in cycle.copies),
            )
        )
    rest = [item for item in pool if item.is_counted and item.seq not in cycle.taken]
    for rule in shares:
        ids = tuple(item.id for item in rest if cycle.over_share.get(item.seq) == rule.name)
        if ids:
            found.append(
                LeftOut(
                    rule=rule.name,
                    text=f"{len(ids)} left out: at most {cycle.caps[rule.name]} of {cycle.size} "
                    f"{rule.words}, {rule.share:.0%} and never fewer than {MIN_ALIKE}",
                    experience_ids=ids,
                )
            )
    return tuple(found)
