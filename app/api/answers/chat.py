"""A chat's way to llama.cpp and back: what is sent there, and how its words are passed on.

Pieces are passed on as they come; the last one waits until the exchange is kept, and says so. Must
not know how a process is found or started.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.answers.event_stream import EVENT_STREAM
from app.api.problems import problem_of
from app.api.schemas import (
    AnsweredByOut,
    ChatChoiceOut,
    ChatCompletionOut,
    ChatMessageOut,
    ChatUsageOut,
)
from app.domain.completeness import FinishReason
from app.errors import ChatEngineFailed, ChatRefused, SageSleepError
from app.services.chatting import Answering

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""Until the first word, where others are served before: a long conversation is read for minutes."""

_DONE = b"data: [DONE]\n\n"
_TOO_LONG = "exceed_context_size_error"

T = TypeVar("T")

Keep = Callable[[str, FinishReason], Awaitable[AnsweredByOut]]
"""Keeps a reply, if that is wanted, and says who answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What is known of a reply before its first word."""

    id: str
    created: int
    model: str


class Line:
    """A connection to the process that answers; close it, whatever came of it."""

    def __init__(self, answering: Answering) -> None:
        import httpx  # noqa: PLC0415  # for who is talked to

        self._answering = answering
        self._http = httpx.AsyncClient(
            base_url=answering.url,
            headers={"Authorization": f"Bearer {answering.key}"},
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
            verify=False,  # noqa: S501  # plain HTTP on loopback
        )
        self._response: httpx.Response | None = None
        self._is_closed = False

    async def ask(self, body: Mapping[str, Any]) -> httpx.Response:
        """Ask; the answer is still to be read. Raises: ChatRefused, ChatEngineFailed."""
        import httpx  # noqa: PLC0415

        request = self._http.build_request("POST", "/v1/chat/completions", json=dict(body))
        try:
            self._response = response = await self._http.send(request, stream=True)
            if response.is_success:
                return response
            said = await response.aread()
        except httpx.HTTPError as error:
            raise _ended() from error
        try:
            fault = json.loads(said)["error"]
            kind, words = fault.get("type"), fault["message"]
        except (ValueError, KeyError, TypeError, AttributeError):
            kind, words = None, response.reason_phrase
        if kind == _TOO_LONG:
            raise ChatRefused(
                f"The conversation has {fault.get('n_prompt_tokens')} tokens, and "
                f"{fault.get('n_ctx')} have room with the reply: leave out its oldest turns, or "
                "raise SAGE_CHAT_CONTEXT_TOKENS, where the base reads more.",
                pointer="/messages",
            )
        if response.is_client_error:
            raise ChatRefused(f"llama.cpp does not answer this: {words}", pointer="/messages")
        raise ChatEngineFailed(f"llama.cpp fails to answer: {words}")

    async def close(self) -> None:
        """Hang up, which ends what is still being written, and owe nothing any more."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with anyio.CancelScope(shield=True):
                if self._response is not None:
                    await self._response.aclose()
                await self._http.aclose()
        finally:
            self._answering.release()


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` comes to; None where the caller hangs up first, and then it is broken off.

    Args:
        receive: The request's, its body read.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer_whole(
    line: Line, body: Mapping[str, Any], reply: Reply, keep: Keep
) -> ChatCompletionOut:
    """The reply as one. Raises: ChatRefused, ChatEngineFailed; what keeping it is refused with."""
    import httpx  # noqa: PLC0415

    response = await line.ask(body)
    try:
        said = json.loads(await response.aread())
    except (httpx.HTTPError, ValueError) as error:
        raise _ended() from error
    choice = said["choices"][0]
    text, finish_reason = choice["message"]["content"] or "", FinishReason(choice["finish_reason"])
    return ChatCompletionOut(
        id=reply.id,
        created=reply.created,
        model=reply.model,
        choices=[ChatChoiceOut(message=ChatMessageOut(content=text), finish_reason=finish_reason)],
        usage=ChatUsageOut(**said["usage"]),
        sage=await keep(text, finish_reason),
    )


class ReplyStream(StreamingResponse):
    """The reply in pieces; the line is closed however it ends."""

    def __init__(self, line: Line, pieces: AsyncIterator[bytes]) -> None:
        super().__init__(pieces, media_type=EVENT_STREAM, headers={"Cache-Control": "no-cache"})
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._line.close()


async def answer_in_pieces(
    line: Line, body: Mapping[str, Any], reply: Reply, keep: Keep, *, has_usage: bool
) -> ReplyStream:
    """The reply as it is written. Raises: ChatRefused, ChatEngineFailed."""
    response = await line.ask({**body, "stream": True, "stream_options": {"include_usage": True}})
    return ReplyStream(line, _pieces(response, reply, keep, has_usage=has_usage))


def answer_again(
    completion: ChatCompletionOut, *, is_stream: bool
) -> ChatCompletionOut | StreamingResponse:
    """A reply that was given before, as it is asked for now."""
    if not is_stream:
        return completion
    reply = Reply(id=completion.id, created=completion.created, model=completion.model)
    (choice,) = completion.choices
    delta = {"role": "assistant", "content": choice.message.content}
    pieces = [
        _event(_piece(reply, delta=delta)),
        _event(
            {
                **_piece(reply, delta={}, finish_reason=choice.finish_reason),
                "sage": completion.sage.model_dump(mode="json"),
            }
        ),
        _DONE,
    ]
    return StreamingResponse(iter(pieces), media_type=EVENT_STREAM)


async def _pieces(
    response: httpx.Response, reply: Reply, keep: Keep, *, has_usage: bool
) -> AsyncIterator[bytes]:
    text: list[str] = []
    finish_reason: FinishReason | None = None
    usage: Any = None
    try:
        async for data in _data(response):
            if data.get("usage"):
                usage = ChatUsageOut(**data["usage"]).model_dump()
            for choice in data["choices"]:
                if choice["finish_reason"] is not None:
                    finish_reason = FinishReason(choice["finish_reason"])
                    continue
                delta = {**choice["delta"], "content": choice["delta"].get("content") or ""}
                text.append(delta["content"])
                yield _event(_piece(reply, delta=delta))
        if finish_reason is None:
            raise _ended()
        answered_by = await keep("".join(text), finish_reason)
    except SageSleepError as error:  # the answer has begun: its status says nothing any more
        problem = problem_of(error)
        said = {"message": error.message, "type": error.code, "code": error.code}
        yield _event({"error": said, "sage": problem})
        return
    yield _event(
        {
            **_piece(reply, delta={}, finish_reason=finish_reason),
            "sage": answered_by.model_dump(mode="json"),
        }
    )
    if has_usage:
        yield _event({**_piece(reply, delta={}), "choices": [], "usage": usage})
    yield _DONE


async def _data(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """What llama.cpp streams, piece by piece. Raises: ChatEngineFailed."""
    import httpx  # noqa: PLC0415

    try:
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name not in {"data", "error"} or value == "[DONE]":
                continue
            data = json.loads(value)
            if name == "error" or "error" in data:
                raise ChatEngineFailed("llama.cpp broke the reply off; ask again.")
            yield data
    except (httpx.HTTPError, ValueError) as error:
        raise _ended() from error


def _piece(
    reply: Reply, *, delta: Mapping[str, Any], finish_reason: FinishReason | None = None
) -> dict[str, Any]:
    return {
        "id": reply.id,
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": reply.model,
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}],
    }


def _event(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


def _ended() -> ChatEngineFailed:
    return ChatEngineFailed("The process that answers ended before its reply did; ask again.")
