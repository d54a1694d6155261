"""The range of a field, seen from both ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

TINY = math.nextafter(0.0, 1.0)
"""The least that is more than 0."""


def check_range(declared: type[Any], field: str, lowest: float, highest: float | None) -> None:
    """Both ends are taken, and no number next to them; without a highest, all above are."""
    high = highest if highest is not None else 1_000_000 * (lowest + 1)
    for end in (lowest, high):
        assert getattr(declared(**{field: end}), field) == end
    beyond = [_next(lowest, -1)] + ([] if highest is None else [_next(highest, 1)])
    for value in beyond:
        with pytest.raises(ValidationError):
            declared(**{field: value})


def _next(value: float, direction: int) -> float:
    if isinstance(value, int):
        return value + direction
    return math.nextafter(value, direction * math.inf)
