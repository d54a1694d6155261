"""/v1/experiences: posting exchanges, reading and erasing what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.client.decoding import Page, decode, page_reader, reader
from app.client.exchange import Exchange, to_wire
from app.client.flows import Emit, Emitting, Flow, Request, segment
from app.client.results import (
    BatchItem,
    BatchReceipt,
    Erasure,
    Experience,
    ExperienceSummary,
    Receipt,
)
from app.client.sending import call, json_of, send

MAX_BATCH = 1000
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""The daemon takes 8 MiB in one body unless it is told otherwise."""


def post_experience(exchange: Exchange | Mapping[str, Any]) -> Flow[Receipt]:
    """Post one exchange. Posted again, it changes nothing and says `duplicate`."""
    request = Request(method="POST", path="/v1/experiences", body=to_wire(exchange))
    return call(request, reader(Receipt))


def post_experiences(exchanges: Iterable[Exchange | Mapping[str, Any]]) -> Flow[BatchReceipt]:
    """Post any number of exchanges in order, in batches; a bad one does not stop the others.

    After an error some batches may be stored; posting all of it again stores the rest.
    """
    results: list[BatchItem] = []
    answers: list[Mapping[str, Any]] = []
    for batch in _in_batches([to_wire(exchange) for exchange in exchanges]):
        answer = json_of((yield from send(batch_request(batch))))
        for item in answer["results"]:
            item["index"] = len(results)
            results.append(decode(BatchItem, item))
        answers.append(answer)
    counts = {
        name: sum(item.result == name for item in results)
        for name in ("inserted", "duplicate", "rejected")
    }
    raw = {**counts, "results": [item for answer in answers for item in answer["results"]]}
    return BatchReceipt(raw=raw, results=tuple(results), **counts)


def batch_request(exchanges: Sequence[Mapping[str, Any]]) -> Request:
    """A request that posts up to `MAX_BATCH` exchanges."""
    body = {"experiences": list(exchanges)}
    return Request(method="POST", path="/v1/experiences/batch", body=body)


def list_experiences(
    *,
    instance: str | None = None,
    status: str | None = None,
    session: str | None = None,
    session_number: int | None = None,
    phase: str | None = None,
    min_salience: float | None = None,
    text: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Flow[Page[Experience]]:
    """Return one page of experiences, newest first; `text` is looked for in prompt and response."""
    params = {
        "instance": instance,
        "status": status,
        "session": session,
        "session_number": session_number,
        "phase": phase,
        "min_salience": min_salience,
        "q": text,
        "cursor": cursor,
        "limit": limit,
    }
    request = Request(method="GET", path="/v1/experiences", params=params)
    return call(request, page_reader(Experience))


def iterate_experiences(
    *,
    instance: str | None = None,
    status: str | None = None,
    session: str | None = None,
    session_number: int | None = None,
    phase: str | None = None,
    min_salience: float | None = None,
    text: str | None = None,
    limit: int = 500,
) -> Emitting[Experience]:
    """Yield all experiences, newest first, a page of `limit` at a time.

    One that arrives meanwhile is not among them; each is as it was when its page was read.
    """
    cursor: str | None = None
    while True:
        page = yield from list_experiences(
            instance=instance,
            status=status,
            session=session,
            session_number=session_number,
            phase=phase,
            min_salience=min_salience,
            text=text,
            cursor=cursor,
            limit=limit,
        )
        for experience in page.data:
            yield Emit(experience)
        if page.next is None:
            return
        cursor = page.next


def get_experience(experience_id: str) -> Flow[Experience]:
    """Return one experience, with the cycles and checkpoints that hold it."""
    request = Request(method="GET", path=f"/v1/experiences/{segment(experience_id)}")
    return call(request, reader(Experience))


def erase_experience(experience_id: str) -> Flow[Erasure]:
    """Erase an experience's text for good, and learn which checkpoints were trained on it."""
    request = Request(method="DELETE", path=f"/v1/experiences/{segment(experience_id)}")
    return call(request, reader(Erasure))


def get_experience_summary(
    instance: str = "default", *, min_salience: float = 0.7
) -> Flow[ExperienceSummary]:
    """Return how many experiences counted, how salient they are, and since when."""
    request = Request(
        method="GET",
        path=f"/v1/instances/{segment(instance)}/experience-summary",
        params={"min_salience": min_salience},
    )
    return call(request, reader(ExperienceSummary))


def _in_batches(exchanges: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Cut where a batch would hold too many exchanges or too many bytes."""
    batch: list[Mapping[str, Any]] = []
    size_bytes = 0
    for exchange in exchanges:
        added_bytes = len(json.dumps(exchange, ensure_ascii=False).encode())
        if batch and (len(batch) == MAX_BATCH or size_bytes + added_bytes > MAX_BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(exchange)
        size_bytes += added_bytes
    if batch:
        yield batch
