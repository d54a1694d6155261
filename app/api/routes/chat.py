"""/v1/chat/completions and /v1/models: talking to what is live, in the form of OpenAI's clients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.answers.chat import (
    Line,
    Reply,
    answer_again,
    answer_in_pieces,
    answer_whole,
    unless_left,
)
from app.api.answers.event_stream import EVENT_STREAM
from app.api.answers.experiences import known_receipt_out, receipt_out
from app.api.daemon import Daemon, DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import IdempotencyKey
from app.api.problems import problem_responses
from app.api.schemas import (
    AnsweredByOut,
    ChatChoiceOut,
    ChatCompletionOut,
    ChatIn,
    ChatMessageOut,
    ChatUsageOut,
    ModelOut,
    ModelsOut,
)
from app.api.schemas.chat import MAX_NAME_CHARACTERS
from app.clock import new_id, utc_now
from app.db.tables import ExperienceRow
from app.domain.access import Access
from app.domain.chat import ModelName, read_model_name, without_control
from app.domain.completeness import FinishReason
from app.domain.exchange import Exchange
from app.errors import CheckpointNotFound, IdempotencyKeyReused
from app.services import chatting, ingest
from app.services.chatting import Answering

MAX_WAITING = 8
"""Requests that wait for a model to be loaded; each holds a thread."""

CALLER_LEFT = 499
"""The status of what nobody reads, for the log; nginx calls it so."""

_turns = anyio.CapacityLimiter(MAX_WAITING)

router = APIRouter(prefix="/v1", tags=["chat"], route_class=GuardedRoute)


@router.post(
    "/chat/completions",
    response_model=ChatCompletionOut,
    responses={
        200: {
            "content": {EVENT_STREAM: {}},
            "description": "The reply, or its pieces.",
        },
        **problem_responses(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.GONE,
        ),
    },
)
async def complete_chat(
    body: ChatIn,
    request: Request,
    daemon: DaemonDep,
    access: AccessDep,
    key: IdempotencyKey = None,
) -> Any:
    """Answer a conversation by what is live of an instance, through llama.cpp beside the daemon.

    In the form of OpenAI's `POST /chat/completions`, so that its clients work with the base
    address `/v1` and a token as their key. `stream: true` sends the reply as it is written.
    """
    name = read_model_name(body.model)
    await _demand_own(daemon, access, name)
    if name.instance is not None and body.record:
        kept = await _find_kept(daemon, name.instance, key, body.asked().prompt)
        if kept is not None:
            again = _completion_of(kept, body.model, name.instance)
            return answer_again(again, is_stream=bool(body.stream))
    take = partial(daemon.take_answering, name)
    answering = await anyio.to_thread.run_sync(take, limiter=_turns)
    line = Line(answering)
    is_stream = False
    try:
        asked = body.asked()
        messages = asked.messages(answering.spoken.system_prompt)
        wanted = {
            **body.wishes(),
            "messages": [
                {
                    "role": turn.role,
                    "content": without_control(turn.content, answering.control_tokens),
                }
                for turn in messages
            ],
        }
        now = utc_now()
        reply = Reply(id=f"chatcmpl-{new_id()}", created=int(now.timestamp()), model=body.model)
        keep = partial(_keep, daemon, body, answering, key)
        has_usage = bool(body.stream_options and body.stream_options.include_usage)
        answer = (
            answer_in_pieces(line, wanted, reply, keep, has_usage=has_usage)
            if body.stream
            else answer_whole(line, wanted, reply, keep)
        )
        answered = await unless_left(request.receive, answer)
        is_stream = bool(body.stream) and answered is not None
        if answered is None:
            return Response(status_code=CALLER_LEFT)
        if isinstance(answered, ChatCompletionOut) and key is not None:
            return await _kept_first(daemon, answered, asked.prompt, key)
        return answered
    finally:
        if not is_stream:
            await line.close()


@router.get("/models")
async def list_models(daemon: DaemonDep, access: AccessDep) -> ModelsOut:
    """Every name that can be talked to: instances, their bases, and what their aliases name."""
    found = await run_in_threadpool(chatting.list_spoken, daemon.db, within=access.instances)
    return ModelsOut(
        data=[ModelOut(id=one.name, created=int(one.since.timestamp())) for one in found]
    )


@router.get(
    "/models/{model}",
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
async def get_model(
    model: Annotated[str, Path(max_length=MAX_NAME_CHARACTERS)],
    daemon: DaemonDep,
    access: AccessDep,
) -> ModelOut:
    """One name that can be talked to, and since when there is what it names now."""
    name = read_model_name(model)
    await _demand_own(daemon, access, name)
    _, since = await run_in_threadpool(chatting.find_named, daemon.db, name)
    return ModelOut(id=model, created=int(since.timestamp()))


async def _demand_own(daemon: Daemon, access: Access, name: ModelName) -> None:
    """Refuse what a bound token may not talk to; another's checkpoint is as one that is not there.

    Raises: InstanceForbidden, CheckpointNotFound.
    """
    if name.instance is not None:
        access.require_instance(name.instance)
    elif access.instances is not None:
        spoken = await run_in_threadpool(chatting.find_spoken, daemon.db, name)
        if spoken.instance not in access.instances:
            raise CheckpointNotFound(f"There is no checkpoint {name.which!r}.")


async def _find_kept(
    daemon: Daemon, instance: str, key: str | None, prompt: str
) -> ExperienceRow | None:
    """What was kept with a key. Raises: IdempotencyKeyReused: It was another prompt's."""
    if key is None:
        return None
    return await run_in_threadpool(chatting.find_kept, daemon.db, instance, key, prompt)


async def _kept_first(
    daemon: Daemon, answered: ChatCompletionOut, prompt: str, key: str
) -> ChatCompletionOut:
    """The reply; where the same call came twice at once, that which was kept."""
    receipt = answered.sage.experience
    if receipt is None or not receipt.duplicate:
        return answered
    kept = await _find_kept(daemon, answered.sage.instance, key, prompt)
    if kept is None:  # the same words were kept before without a key
        return answered
    return _completion_of(kept, answered.model, answered.sage.instance)


def _completion_of(row: ExperienceRow, model: str, instance: str) -> ChatCompletionOut:
    """The reply that was kept with an exchange; how many tokens it took was not."""
    said = row.extra.get("answered_by", {})
    return ChatCompletionOut(
        id=f"chatcmpl-{row.id}",
        created=int(row.received_at.timestamp()),
        model=model,
        choices=[
            ChatChoiceOut(
                message=ChatMessageOut(content=row.response),
                finish_reason=row.finish_reason or FinishReason.STOP,
            )
        ],
        usage=ChatUsageOut(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        sage=AnsweredByOut(
            instance=instance,
            checkpoint_id=said.get("checkpoint_id"),
            base=said.get("base", ""),
            experience=known_receipt_out(row, instance),
            not_recorded=None,
        ),
    )


async def _keep(
    daemon: Daemon,
    body: ChatIn,
    answering: Answering,
    key: str | None,
    text: str,
    finish_reason: FinishReason,
) -> AnsweredByOut:
    """Keep an exchange, where that is wanted, durably before its last word is sent."""
    spoken = answering.spoken
    checkpoint_id = None if spoken.checkpoint is None else spoken.checkpoint.row.id
    answered_by = AnsweredByOut(
        instance=spoken.instance,
        checkpoint_id=checkpoint_id,
        base=answering.base,
        experience=None,
        not_recorded=None,
    )
    if not body.record:
        return answered_by
    metadata = {"answered_by": {"checkpoint_id": checkpoint_id, "base": answering.base}}
    try:
        exchange = _exchange(body, spoken.instance, text, finish_reason, metadata)
    except ValidationError:
        why = "a reply that is empty, or too long, is no experience"
        return answered_by.model_copy(update={"not_recorded": why})
    try:
        result = await daemon.submit(ingest.Submission(exchange=exchange, idempotency_key=key))
    except IdempotencyKeyReused:
        kept = await _find_kept(daemon, spoken.instance, key, exchange.prompt)
        if kept is None:
            raise
        receipt = known_receipt_out(kept, spoken.instance)
        return answered_by.model_copy(update={"experience": receipt})
    daemon.ingest_meter.count(result.outcome)
    receipt = receipt_out(result, spoken.instance)
    return answered_by.model_copy(update={"experience": receipt})


def _exchange(
    body: ChatIn,
    instance: str,
    text: str,
    finish_reason: FinishReason,
    metadata: Mapping[str, Any],
) -> Exchange:
    asked = body.asked()
    return Exchange.model_validate(
        {
            "instance": instance,
            "prompt": asked.prompt,
            "response": text,
            "history": [{"role": turn.role, "content": turn.content} for turn in asked.history],
            "system_prompt": asked.system_prompt,
            "finish_reason": finish_reason,
            "session": body.session,
            "session_number": body.session_number,
            "phase": body.phase,
            "source_id": body.source_id,
            "occurred_at": utc_now().isoformat(),
            "metadata": dict(metadata),
        }
    )
