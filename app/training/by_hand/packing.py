"""Rows of a batch behind one another, only the last filled up, their common beginning once.

Must not know models or losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

FILLED_TO = 16
"""A packing's tokens are a multiple of this, so that the shapes of its products repeat: oneDNN
makes kernels for every shape of a bf16 product that it meets, and gives hardly any of them back.
With `SHAPE_MULTIPLE` in attention and in the output layer 60 examples peaked at 1,032 MB, and with
lengths as they come at 1,447 MB, at the same speed (`test_memory_of_repeated_shapes`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """Where each row's tokens lie in the packed sequence.

    Attributes:
        input_ids: int64 (N,): the shared prefix, then what is left of each row.
        positions: int64 (N,): each token's position in its row.
        prefix: Tokens of the shared prefix; 0 for none.
        segments: `(start, end)` of the prefix, where there is one, and of each row's rest.
        starts: int64 (B,): packed index of a row's token at position p is `starts + p`, if p is
            not in the prefix; else it is p.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    prefix: int
    segments: tuple[tuple[int, int], ...]
    starts: torch.Tensor

    def index(self, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Packed index of tokens given by row and position, int64 of the same shape."""
        return torch.where(positions < self.prefix, positions, self.starts[rows] + positions)


def pack_rows(rows: Sequence[torch.Tensor], *, multiple: int = FILLED_TO) -> Packing:
    """Put rows of token ids, int64 (T,) each, behind one another.

    The last row is filled up with its last token until all are a multiple of `multiple`: behind
    the others, where causal attention never looks.
    """
    prefix = common_prefix(rows)
    pieces = [rows[0][:prefix]] if prefix else []
    lengths = [len(row) - prefix for row in rows]
    filling = -(prefix + sum(lengths)) % multiple
    lengths[-1] += filling
    segments = [(0, prefix)] if prefix else []
    positions = [torch.arange(prefix)] if prefix else []
    starts = []
    end = prefix
    for row, length in zip(rows, lengths, strict=True):
        start, end = end, end + length
        pieces.append(row[prefix:])
        positions.append(torch.arange(prefix, prefix + length))
        segments.append((start, end))
        starts.append(start - prefix)
    # Any token would do; no label and no other token looks at it.
    pieces.append(rows[-1][-1:].expand(filling))
    return Packing(
        input_ids=torch.cat(pieces),
        positions=torch.cat(positions),
        prefix=prefix,
        segments=tuple(segments),
        starts=torch.tensor(starts),
    )


def common_prefix(rows: Sequence[torch.Tensor]) -> int:
    """Tokens that all rows begin with; 0 for a lone row.

    Every row keeps at least its last token.
    """
    if len(rows) < 2:
        return 0
    # A row of nothing but prefix would be a segment without a token.
    length = min(len(row) for row in rows) - 1
    first = rows[0][:length]
    same = torch.ones(length, dtype=torch.bool)
    for row in rows[1:]:
        same &= row[:length] == first
    return int(same.long().cumprod(0).sum())
