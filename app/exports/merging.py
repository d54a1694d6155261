"""A base's weights with an adapter added, some rows at a time.

    W = W0 + B A                        (the adapter's factor in B: `app.exports.lora`)

What is asked for is computed in float32, and no more than that is held. Must not know the files it
goes into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import AdapterNotExportable
from app.exports.architectures import Order
from app.exports.lora import LoraPair
from app.exports.weights import Floats, Weight

NUMBERS_AT_ONCE = 1 << 22
"""Of a weight that are held as float32: 16 MB, and twice that while an adapter is added."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedWeight:
    """One weight of the base with what the adapter adds to it, if anything.

    Attributes:
        order: Which row comes first, second, ...; None where they stay.
        raised_by: Added to every number.
    """

    weight: Weight
    pair: LoraPair | None = None
    order: Order | None = None
    raised_by: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """As torch has it."""
        return self.weight.shape

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Its rows in blocks, each with the number of its first row."""
        rows = self.shape[0]
        row_size = max(1, self.weight.bits.size // max(1, rows))
        step = max(1, NUMBERS_AT_ONCE // row_size)
        for start in range(0, rows, step):
            yield start, self._read(start, min(rows, start + step))

    def _read(self, start: int, end: int) -> Floats:
        rows = slice(start, end) if self.order is None else self.order[start:end]
        values = self.weight.read(rows)
        if self.pair is not None:
            values = values + self.pair.b[rows] @ self.pair.a
        return values + self.raised_by if self.raised_by else values


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedStack:
    """The same matrix of every expert of a block, one after the other."""

    experts: tuple[MergedWeight, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(experts, out, in)."""
        return (len(self.experts), *self.experts[0].shape)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Each expert's, with its number."""
        for number, expert in enumerate(self.experts):
            yield number, np.concatenate([values for _, values in expert.blocks()])[None]


def match_pairs(weights: Mapping[str, Weight], pairs: Sequence[LoraPair]) -> dict[str, LoraPair]:
    """Which pair is added to which weight. Raises: AdapterNotExportable: One fits none."""
    found = {}
    for pair in pairs:
        name = f"{pair.module}.weight"
        weight = weights.get(name)
        if weight is None or pair.depth:
            raise AdapterNotExportable(
                f"The adapter changes {pair.module}, and the base's files hold no {name}."
            )
        if weight.shape != (pair.b.shape[0], pair.a.shape[1]):
            raise AdapterNotExportable(
                f"The adapter's part for {pair.module} is of {pair.b.shape[0]} x "
                f"{pair.a.shape[1]}, and the base's of {' x '.join(map(str, weight.shape))}: it "
                "was made for another base."
            )
        found[name] = pair
    return found
