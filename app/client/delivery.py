"""From the spool to the daemon: in order, each until it is there or refused for what it is.

An exchange leaves the spool after the daemon answered for it. If that answer is lost it is posted
again, and the daemon, which knows it by its content, keeps it once; so does it when two processes
deliver the same spool at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.client.decoding import decode
from app.client.errors import RequestRefused
from app.client.experiences import MAX_BATCH_BYTES, batch_request
from app.client.flows import Flow, Work
from app.client.results import BatchItem
from app.client.sending import json_of, send
from app.client.spool import Spool, Waiting

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


def deliver(
    spool: Spool, *, until: int | None = None, max_seconds: float | None = None
) -> Flow[Delivery]:
    """Deliver what waits in a spool, in one pass; what comes in meanwhile, too.

    Args:
        until: Stop behind this number.
        max_seconds: Begin no further batch after so long.

    Raises: DaemonUnavailable, RequestRefused; what was delivered until then is out of the spool.
    """
    results: dict[int, BatchItem] = {}
    held_back: dict[int, str] = {}
    started_at = time.monotonic()
    after, at_most = 0, BATCH
    while until is None or after < until:
        if max_seconds is not None and time.monotonic() - started_at > max_seconds:
            break
        look = partial(spool.peek, at_most, after=after, max_bytes=MAX_BATCH_BYTES)
        waiting: list[Waiting] = yield Work(look)
        if not waiting:
            break
        try:
            items = yield from _post(waiting)
        except RequestRefused as error:
            if error.status not in REFUSING_STATUSES:
                raise
            if len(waiting) > 1:
                at_most = len(waiting) // 2
                continue
            problem = error.problem or {"detail": str(error), "status": error.status}
            items = [BatchItem(index=0, result="rejected", problem=problem)]
        settled = {
            entry.seq: item for entry, item in zip(waiting, items, strict=True) if _is_final(item)
        }
        held_back |= {
            entry.seq: _reason(item)
            for entry, item in zip(waiting, items, strict=True)
            if not _is_final(item)
        }
        yield Work(partial(_settle, spool, settled))
        results |= settled
        after, at_most = waiting[-1].seq, BATCH
    return Delivery(results=results, held_back=held_back)


def _post(waiting: Sequence[Waiting]) -> Flow[list[BatchItem]]:
    request = batch_request([entry.exchange for entry in waiting])
    answer: Any = json_of((yield from send(request, retry_seconds=0)))
    return [decode(BatchItem, item) for item in answer["results"]]


def _is_final(item: BatchItem) -> bool:
    if item.result != "rejected":
        return True
    return (item.problem or {}).get("status") in REFUSING_STATUSES


def _settle(spool: Spool, settled: Mapping[int, BatchItem]) -> None:
    spool.settle(
        delivered=[seq for seq, item in settled.items() if item.result != "rejected"],
        refused=[
            (seq, _reason(item), item.problem or {})
            for seq, item in settled.items()
            if item.result == "rejected"
        ],
    )


def _reason(item: BatchItem) -> str:
    return str((item.problem or {}).get("detail", "refused without a reason"))
