"""Wire models of experiences; the exchange itself is `app.domain.exchange.Exchange`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel, BeforeValidator, WithJsonSchema

from app.api.problems import Problem
from app.domain.completeness import FinishReason
from app.domain.exchange import HistoryTurn, ToolCall
from app.domain.experience import CycleRole, ExperienceStatus, Lesson
from app.domain.progress import CycleStatus
from app.services.ingest import IngestOutcome

MAX_BATCH = 1000

_LIST = {"type": "array", "maxItems": MAX_BATCH}
_BATCH_SCHEMA = {
    "anyOf": [
        _LIST,
        {
            "type": "object",
            "properties": {"experiences": _LIST},
            "required": ["experiences"],
            "additionalProperties": False,
        },
    ]
}
_BATCH_EXAMPLE = [{"prompt": "How was today?", "response": "We learned something."}]


def _list_of(body: Any) -> list[Any]:
    items = body.get("experiences") if isinstance(body, dict) and len(body) == 1 else body
    if not isinstance(items, list):
        message = 'Send a list of exchanges, or {"experiences": [...]} and nothing else.'
        raise ValueError(message)  # noqa: TRY004  # what pydantic takes as a finding
    if len(items) > MAX_BATCH:
        raise ValueError(
            f"A batch holds at most {MAX_BATCH} exchanges, not {len(items)}; split it."
        )
    return items


BatchIn = Annotated[
    list[Any],
    BeforeValidator(_list_of),
    WithJsonSchema(_BATCH_SCHEMA),
    Body(openapi_examples={"list": {"value": _BATCH_EXAMPLE}}),
]
"""Exchanges, each of which is judged by itself."""


class SalienceOut(BaseModel):
    """The five components and their mean."""

    total: float
    surprise: float
    novelty: float
    arousal: float
    reward: float
    conflict: float


class ReceiptOut(BaseModel):
    """What became of a posted exchange.

    `stored` says that it counts: it entered the buffer or the held-out tenth. An exchange that
    was filtered or is below the threshold is kept for audit all the same.
    """

    id: str
    experience_id: str
    instance: str
    status: ExperienceStatus
    stored: bool
    duplicate: bool
    filtered: bool
    filter_reason: str | None
    reason: str | None
    similarity: float
    truncated: bool
    salience: SalienceOut
    scorer: str


class BatchItemOut(BaseModel):
    """What became of one exchange of a batch."""

    index: int
    result: IngestOutcome
    experience: ReceiptOut | None = None
    problem: Problem | None = None


class BatchOut(BaseModel):
    """What became of a batch, in the order it was sent."""

    inserted: int
    duplicate: int
    rejected: int
    results: list[BatchItemOut]


class ExperienceUseOut(BaseModel):
    """A cycle that used an experience, and the checkpoint it published."""

    sleep_cycle_id: str
    number: int
    status: CycleStatus
    role: CycleRole
    weight: float
    checkpoint_id: str | None


class ExperienceOut(BaseModel):
    """An experience as it is kept.

    `near_copy_of`: what a cycle trained in its place; while that stands consolidated, it waits.
    """

    id: str
    instance: str
    status: ExperienceStatus
    reason: str | None
    prompt: str
    response: str
    session: str | None
    session_number: int | None
    phase: str | None
    occurred_at: datetime | None
    received_at: datetime
    source_id: str | None
    history: list[HistoryTurn]
    system_prompt: str | None
    finish_reason: FinishReason | None
    tool_calls: list[ToolCall]
    metadata: dict[str, Any]
    salience: SalienceOut
    scorer: str
    similarity: float
    near_copy_of: str | None
    truncated: bool
    attempts: int
    content_sha256: str
    erased_at: datetime | None


class ExperienceDetailOut(ExperienceOut):
    """An experience with what a teacher asked about it, and the cycles that hold it.

    `lessons`: questions and answers by the operator's own larger model; erased with the experience.
    """

    lessons: list[Lesson]
    sleep_cycles: list[ExperienceUseOut]


class ErasedOut(BaseModel):
    """What erasing did: the text is gone, the named checkpoints learned from it and are marked.

    A checkpoint learned from it if its own cycle or an ancestor's trained on it, or on what quoted
    it. To be rid of it in the weights too: `POST /v1/instances/{slug}/rebuild`.

    `erased_with`: exchanges whose own words repeated all of it, which were erased too;
    `taken_from`: exchanges that quoted it, as history for one, and do no more; `repeated_in`:
    exchanges that still say a part of it by themselves, such as the same question: they stay, and
    are erased by their own id.

    `purged` is false while the database's log still holds bytes of the text, for a reader that
    needs it; the daemon empties it as soon as it can.
    """

    id: str
    status: ExperienceStatus
    erased_at: datetime | None
    purged: bool
    checkpoints: list[str]
    erased_with: list[str]
    taken_from: list[str]
    repeated_in: list[str]


class ExperienceSummaryOut(BaseModel):
    """What an instance has collected: the experiences that counted, erased ones left out.

    `salient`: how many have a total of at least `min_salience`; `averages`: the mean of each
    component and of `total`, null before the first experience.
    """

    instance: str
    min_salience: float
    count: int
    salient: int
    averages: SalienceOut | None
    oldest_at: datetime | None
    newest_at: datetime | None


class SalienceDistributionOut(BaseModel):
    """How salience is spread over the newest experiences, filtered and erased ones left out.

    `dimensions`: by component, and `total`, how many fall into each tenth of 0..1, lowest first.
    """

    instance: str
    count: int
    dimensions: dict[str, list[int]]
