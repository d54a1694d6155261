"""Limits on request bodies: how large, how slow, and how much of them is held at once.

Starlette's own limit (`max_body_size`) answers in plain text and cannot be told otherwise; uvicorn
has none on how long a body takes. These raise the HTTP exceptions that `app.api.problems` turns
into problems.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: bodies are bounded one by one, in time, and all together.

    What is held is counted until the request is answered, so that callers who wait for a slow disk
    cannot fill the memory with what they sent.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, max_held_bytes: int, timeout_seconds: float
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_held_bytes
        self._timeout_seconds = timeout_seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its reads counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        receive_limited = limit_body(scope, receive, self._max_body_bytes)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        held, is_whole = 0, False

        async def receive_in_time() -> Message:
            nonlocal held, is_whole
            if is_whole:
                return await receive()  # what follows a body is that the client is gone
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive_limited()
            except TimeoutError as error:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"}
                ) from error
            is_whole = not message.get("more_body", False)
            size = len(message.get("body", b""))
            held += size
            self._held += size
            if self._held > self._max_held_bytes:
                raise HTTPException(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "Too much waits to be written; try again shortly.",
                    headers={"Retry-After": "1"},
                )
            return message

        try:
            await self._app(scope, receive_in_time, send)
        finally:
            self._held -= held


def limit_body(scope: Scope, receive: Receive, max_body_bytes: int) -> Receive:
    """The same, failing where the body is larger, at once where its length is announced."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    received = int(announced) if announced.isdigit() else 0

    async def receive_limited() -> Message:
        nonlocal received
        if received > max_body_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        message = await receive()
        if not announced:
            received += len(message.get("body", b""))
            if received > max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return receive_limited
