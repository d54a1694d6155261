"""Which known name somebody meant who wrote another one: settings, instances."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SIMILARITY = 0.75
"""Of letters in the same order. A guess, tried on the settings: below it `INSTANCE` is
`MIN_SALIENCE` and `ROOT` is `PROMOTION`; above it every slip of one or two letters is found."""

MOST = 3
"""More names are no hint."""


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The known names that this one may stand for, nearest first; none where it resembles none.

    Near is what has nearly the same letters, and what has these words among its own: `THRESHOLD` is
    near `MASS_THRESHOLD`.
    """
    by_folded = {_fold(other): other for other in sorted(known)}
    folded = _fold(name)
    close = get_close_matches(folded, by_folded, n=MOST, cutoff=SIMILARITY)
    around = f"-{folded}-"
    close += [other for other in by_folded if around in f"-{other}-" and other not in close]
    return tuple(by_folded[other] for other in close[:MOST])


def did_you_mean(names: Iterable[str]) -> str:
    """`did you mean A, B or C?`; empty for no name."""
    listed = list(names)
    if not listed:
        return ""
    *first, last = listed
    before = ", ".join(first) + " or " if first else ""
    return f"did you mean {before}{last}?"


def _fold(name: str) -> str:
    return name.casefold().replace("_", "-").replace(".", "-")
