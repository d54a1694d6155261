"""A teacher: any model that is asked through OpenAI's chat completions, such as Ollama's own.

Asked as a stream, so that a slow one gives signs of life and can be left in the middle. Must not
know what it is asked for.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from app.errors import RuntimeRefuses, RuntimeUnavailable
from app.runtimes.connection import MAX_SAID, Connection, read_object

TIMEOUT_SECONDS = 300.0
"""Until the first piece, and between two: a large model is loaded from the disk first."""

REPLY_SECONDS = 900.0
"""Of one whole reply: a server that only ever says that it lives holds no cycle up."""

MAX_REPLY_TOKENS = 600
MAX_REPLY_SIGNS = 8000
"""What comes after is not read."""


class Teacher(Connection):
    """One model behind one address.

    Args:
        url: With the version, as OpenAI's clients take it: `http://127.0.0.1:11434/v1`.
        key: Sent as a bearer token; None sends none.
    """

    def __init__(self, url: str, *, model: str, key: str | None) -> None:
        super().__init__(
            url, name="teacher", setting="SAGE_TEACHER_URL", timeout_seconds=TIMEOUT_SECONDS
        )
        self.model = model
        if key is not None:
            self._http.headers["Authorization"] = f"Bearer {key}"

    def reply(self, messages: Sequence[Mapping[str, str]], *, on_piece: Callable[[], None]) -> str:
        """Ask once, as near to the likeliest reply as the server goes.

        Args:
            on_piece: Called before the request and at each piece; what it raises ends the reply.

        Raises: RuntimeUnavailable, RuntimeRefuses.
        """
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": MAX_REPLY_TOKENS,
            "stream": True,
        }
        said: list[str] = []
        ends_at = time.monotonic() + REPLY_SECONDS
        on_piece()
        try:
            with self._http.stream("POST", "/chat/completions", json=body) as response:
                if response.is_error:
                    response.read()
                    raise RuntimeRefuses(_refusal(response))
                for line in response.iter_lines():
                    on_piece()
                    said.append(_piece(line))
                    if sum(map(len, said)) > MAX_REPLY_SIGNS:
                        break
                    if time.monotonic() > ends_at:
                        raise httpx.ReadTimeout("the reply does not end")
        except httpx.HTTPError as error:
            raise RuntimeUnavailable(
                f"No teacher answers at {self.url} ({type(error).__name__}); start it, or name its "
                "address in SAGE_TEACHER_URL."
            ) from error
        return "".join(said)


def _piece(line: str) -> str:
    """The text of one event of the stream; none where it is another."""
    name, _, value = line.partition(":")
    if name != "data" or value.strip() == "[DONE]":
        return ""
    try:
        data: Any = json.loads(value)
        text = data["choices"][0]["delta"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return text if isinstance(text, str) else ""


def _refusal(response: httpx.Response) -> str:
    said: Any = read_object(response).get("error")
    words = said.get("message") if isinstance(said, Mapping) else said
    status = response.status_code
    text = f"The teacher answers {status}: {str(words or response.reason_phrase)[:MAX_SAID]}"
    if status == HTTPStatus.NOT_FOUND:
        text += " (see SAGE_TEACHER_URL, which ends with /v1 mostly, and SAGE_TEACHER_MODEL)"
    return text
