"""What an answer means for what waits in a spool: it is out of it, set aside, or waits on.

An exchange leaves the spool after the daemon answered for it. If that answer is lost it is posted
again, and the daemon, which knows it by its content, keeps it once; so does it when two processes
deliver the same spool at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .decoding import decode
from .errors import RequestRefused
from .results import BatchItem, Problem
from .spool import Spool, Waiting

BATCH = 100
"""Exchanges a request: few enough for a small machine's patience, and a batch costs one commit."""

REFUSING_STATUSES = frozenset({400, 409, 413, 415, 422})
"""What is wrong with an exchange itself. Anything else (no such instance, a token that does not
suffice, too many requests) can be mended elsewhere, so the exchange waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What one pass over a spool came to.

    Attributes:
        results: By number in the spool: delivered or refused.
        held_back: By number: why an exchange still waits although the daemon answered.
    """

    results: Mapping[int, BatchItem] = field(default_factory=dict)
    held_back: Mapping[int, str] = field(default_factory=dict)


def refused_alone(error: RequestRefused) -> BatchItem:
    """The refusal of a request that held one exchange, as that of the exchange."""
    problem = error.problem or {"detail": str(error), "status": error.status}
    return BatchItem(index=0, result="rejected", problem=decode(Problem, problem))


def settle(spool: Spool, waiting: Sequence[Waiting], items: Sequence[BatchItem]) -> Delivery:
    """Take out of the spool what the daemon has or refused for what it is."""
    results: dict[int, BatchItem] = {}
    held_back: dict[int, str] = {}
    for entry, item in zip(waiting, items, strict=True):
        if _is_final(item):
            results[entry.seq] = item
        else:
            held_back[entry.seq] = _reason(item)
    spool.settle(
        delivered=[seq for seq, item in results.items() if item.result != "rejected"],
        refused=[
            (seq, _reason(item), item.problem.raw if item.problem else {})
            for seq, item in results.items()
            if item.result == "rejected"
        ],
    )
    return Delivery(results=results, held_back=held_back)


def _is_final(item: BatchItem) -> bool:
    status = item.problem.status if item.problem else None
    return item.result != "rejected" or status in REFUSING_STATUSES


def _reason(item: BatchItem) -> str:
    return (item.problem and item.problem.detail) or "refused without a reason"
