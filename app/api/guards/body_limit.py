"""Limits on request bodies: how large, how slow, and how much of them is held at once.

A body holds the bytes of it that came. Where they are too many together, slow ones give way: what
is whole is waited for by somebody who has done his part, and what is not yet may never be.

Starlette's own limit (`max_body_size`) answers in plain text and cannot be told otherwise; uvicorn
has none on how long a body takes. These raise the HTTP exceptions that `app.api.problems` turns
into problems.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Upload:
    """A body that is not whole yet: what came of it, and when it is given up."""

    def __init__(self, timeout_seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._timeout: asyncio.Timeout | None = None
        self._is_given_up = False
        self.held = 0

    async def receive(self, receive: Receive) -> Message:
        """The next part of it, in time. Raises: HTTPException."""
        if self._is_given_up:
            raise _no_room()
        try:
            async with asyncio.timeout_at(self._deadline) as self._timeout:
                return await receive()
        except TimeoutError as error:
            if self._is_given_up:
                raise _no_room() from error
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"}
            ) from error
        finally:
            self._timeout = None

    def give_up(self) -> None:
        """Wait for it no longer."""
        self._is_given_up = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())


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
        self._uploads: dict[_Upload, None] = {}  # in the order in which they began

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its reads counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        receive_limited = limit_body(scope, receive, self._max_body_bytes)
        upload, is_whole = _Upload(self._timeout_seconds), False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()  # what follows a body is that the client is gone
            message = await upload.receive(receive_limited)
            is_whole = not message.get("more_body", False)
            size = len(message.get("body", b""))
            upload.held += size
            self._held += size
            if is_whole:
                self._uploads.pop(upload, None)
            else:
                self._uploads[upload] = None
            self._make_room()
            return message

        try:
            await self._app(scope, receive_in_time, send)
        finally:
            self._held -= upload.held
            self._uploads.pop(upload, None)

    def _make_room(self) -> None:
        """Give up the slowest uploads until what is held is allowed. Raises: HTTPException."""
        while self._held > self._max_held_bytes and self._uploads:
            slowest = next(iter(self._uploads))
            del self._uploads[slowest]
            self._held -= slowest.held
            slowest.held = 0
            slowest.give_up()
        if self._held > self._max_held_bytes:
            raise _no_room()


def _no_room() -> HTTPException:
    return HTTPException(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too much waits to be written; try again shortly.",
        headers={"Retry-After": "1"},
    )


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
