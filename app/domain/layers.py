"""Which linear layers of a model an adapter changes, and which it leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftLayers:
    """Layers of one name that no adapter changes.

    Attributes:
        name: With `*` for the number of a block or an expert.
        why: In words.
    """

    name: str
    count: int
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptedLayers:
    """The linear layers of the decoder's blocks; the experts of a mixture are one in each place.

    Attributes:
        adapted: n of `n of m layers`; `total` is m.
        summary: `n of m layers`, and which are left, in words.
        modules: Names of what is adapted, with `*` for numbers.
        left: What is not. Routers, heads, embeddings and other towers are not among the m.
    """

    adapted: int
    total: int
    summary: str
    modules: tuple[str, ...]
    left: tuple[LeftLayers, ...]


def count_layers(
    *, adapted: int, modules: tuple[str, ...], left: tuple[LeftLayers, ...]
) -> AdaptedLayers:
    """The layers with their sum and their words."""
    total = adapted + sum(one.count for one in left)
    said = "; ".join(f"{one.name} ({one.count}) not: {one.why}" for one in left)
    return AdaptedLayers(
        adapted=adapted,
        total=total,
        summary=f"{adapted} of {total} layers" + (f"; {said}" if said else ""),
        modules=modules,
        left=left,
    )
