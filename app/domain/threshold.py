"""The mass at which sleep is due: fixed, or adapted to how sleep has gone.

Adapted, it falls while an instance waits, so that one that hears little learns at all, and rises
with each rejection, so that the next attempt has more to learn from. Must not know where its
figures come from.
"""

from __future__ import annotations

from dataclasses import dataclass

HALF_LIFE_SECONDS = 7 * 86400.0
"""Of the threshold while an instance waits. A guess: a week of little is a night's worth."""

LEAST_FACTOR = 0.25
RISE_PER_REJECTION = 1.5
MOST_FACTOR = 4.0
"""Guesses: a quarter of the default mass is what `min_experiences` allows anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """A mass, and why it is not the policy's; empty where it is."""

    mass: float
    why: str = ""


def adapt(mass: float, *, waited_seconds: float, rejections: int) -> Threshold:
    """Adapt a policy's mass threshold.

    Args:
        waited_seconds: Since the last cycle's verdict, or since the instance was made.
        rejections: Cycles in a row that the gate rejected.
    """
    waited_seconds = max(0.0, waited_seconds)  # less is of a clock that was set back
    fallen = 0.5 ** (waited_seconds / HALF_LIFE_SECONDS)
    risen = RISE_PER_REJECTION ** min(rejections, 50)
    factor = min(MOST_FACTOR, max(LEAST_FACTOR, fallen * risen))
    days = waited_seconds / 86400.0
    why = [f"{mass:.1f} adapted", f"{days:.1f} d since the last sleep"]
    if rejections:
        why.append("1 rejection" if rejections == 1 else f"{rejections} rejections in a row")
    return Threshold(mass=round(mass * factor, 9), why=", ".join(why))
