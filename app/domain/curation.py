"""What a cycle leaves out so that no one prompt and no one phase makes up most of it.

Salience alone would train a flood of one exercise twenty times over. Pure: candidates come most
salient first, with the prompt and the phase of each. What is left out stays where it was.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.selection import Candidate

POOL_FACTOR = 4
MAX_POOL_EXTRA = 2048
"""Candidates beyond what a cycle may take, so that others come in for those left out: three for
each, and no more than this, since their prompts are read while others wait to write."""

MIN_ALIKE = 4
"""So many of one prompt, or phase, are no flood however small the cycle is: an instance that hears
few prompts learns still. A guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What curation needs to know of a candidate, besides its salience."""

    prompt_key: str
    phase: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """Experiences that a rule kept out of a cycle, and the rule with its numbers."""

    rule: str
    text: str
    experience_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curated:
    """What a cycle takes, in the order of the candidates, and what it leaves out."""

    kept: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]


def pool_size(limit: int) -> int:
    """How many candidates to look at for a cycle of this size."""
    return limit + min((POOL_FACTOR - 1) * limit, MAX_POOL_EXTRA)


def prompt_key(prompt: str) -> str:
    """Prompts that differ in case and white space alone are one; the key holds no text."""
    return hashlib.sha256(" ".join(prompt.casefold().split()).encode()).hexdigest()


def limit_shares(
    pool: Sequence[Candidate],
    traits: Mapping[int, Traits],
    *,
    limit: int,
    max_prompt_share: float,
    max_phase_share: float,
) -> Curated:
    """Take up to `limit` candidates, of which no prompt and no phase has more than its share.

    A share is one of what is taken in the end: a cycle that loses much to a rule is smaller, and
    the rule is applied again to the smaller one. `MIN_ALIKE` are always allowed.

    Args:
        pool: Most salient first, perhaps more than `limit`.
        traits: By sequence number; a candidate without any is of no prompt and no phase.
        max_prompt_share: 0..1; 1 for no rule.
        max_phase_share: 0..1; 1 for no rule. Experiences without a phase are of none.
    """
    size = min(limit, len(pool))
    while True:
        caps = {
            "prompt_share": _cap(max_prompt_share, size),
            "phase_share": _cap(max_phase_share, size),
        }
        kept, refused = _take(pool, traits, size, caps)
        if len(kept) == size:
            break
        size = len(kept)
    shares = {"prompt_share": max_prompt_share, "phase_share": max_phase_share}
    left_out = tuple(
        LeftOut(
            rule=rule,
            text=f"{len(ids)} left out: at most {caps[rule]} of {size} of one {words}, "
            f"{shares[rule]:.0%} and never fewer than {MIN_ALIKE}",
            experience_ids=tuple(ids),
        )
        for rule, words in (("prompt_share", "prompt"), ("phase_share", "phase"))
        if (ids := refused[rule])
    )
    return Curated(kept=tuple(kept), left_out=left_out)


def _cap(share: float, size: int) -> int:
    return size if share >= 1 else max(MIN_ALIKE, int(share * size))


def _take(
    pool: Sequence[Candidate],
    traits: Mapping[int, Traits],
    size: int,
    caps: Mapping[str, int],
) -> tuple[list[Candidate], dict[str, list[str]]]:
    """Fill a cycle of this size in order; those refused on the way, by the first rule that did."""
    prompts: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    kept: list[Candidate] = []
    refused: dict[str, list[str]] = {rule: [] for rule in caps}
    for candidate in pool:
        if len(kept) == size:
            break
        found = traits.get(candidate.seq)
        if found is not None:
            if prompts[found.prompt_key] >= caps["prompt_share"]:
                refused["prompt_share"].append(candidate.id)
                continue
            if found.phase is not None and phases[found.phase] >= caps["phase_share"]:
                refused["phase_share"].append(candidate.id)
                continue
            prompts[found.prompt_key] += 1
            if found.phase is not None:
                phases[found.phase] += 1
        kept.append(candidate)
    return kept, refused
