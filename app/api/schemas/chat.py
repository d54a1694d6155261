"""Wire models of chat, in the form that OpenAI's clients send and read.

What clients send beside these fields is ignored, as other servers of that form do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, model_validator
from pydantic.json_schema import SkipJsonSchema

from app.api.schemas.experiences import ReceiptOut
from app.domain.chat import Asked, Turn, read_conversation
from app.domain.completeness import FinishReason
from app.domain.exchange import DEFAULT_INSTANCE, MAX_HISTORY_TURNS, MAX_TEXT_CHARACTERS, Label

EXAMPLE: dict[str, JsonValue] = {
    "model": DEFAULT_INSTANCE,
    "messages": [{"role": "user", "content": "What did we learn today?"}],
    "max_tokens": 64,
    "temperature": 0,
    "record": True,
    "session": "s-23",
}

MAX_STOPS = 16
_SEEDS = 1 << 32

Content = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]


class TextPartIn(BaseModel):
    """A piece of a message; of text alone."""

    type: Literal["text"]
    text: Content


class MessageIn(BaseModel):
    """One message of the conversation; `developer` is another name of `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | list[TextPartIn] | None = None

    def turn(self) -> Turn:
        """The message as a turn."""
        role = "system" if self.role == "developer" else self.role
        content = self.content or ""
        if not isinstance(content, str):
            content = "".join(part.text for part in content)
        return Turn(role=role, content=content)


class StreamOptionsIn(BaseModel):
    """What a stream is to hold."""

    include_usage: bool | None = None


MAX_NAME_CHARACTERS = 256
"""Of what a `model` is called."""


class ChatIn(BaseModel):
    """A conversation that waits for its reply.

    `model`: an instance, whose current adapter answers; or `INSTANCE@base`, `@previous`,
    `@candidate` or `@` with a checkpoint's id. Where no message is the system's, the instance's own
    system prompt goes before.

    `record`: the exchange is kept, as by `POST /v1/experiences`, with `session`, `session_number`,
    `phase` and `source_id`, at the reply's end; one that its reader leaves is not.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    model: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] = DEFAULT_INSTANCE
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_HISTORY_TURNS + 2)]
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=5)] | None = None
    top_p: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None
    repeat_penalty: Annotated[FiniteFloat, Field(ge=0, le=5)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: (
        Annotated[str, Field(max_length=256)]
        | Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=MAX_STOPS)]
        | None
    ) = None
    n: Annotated[int, Field(ge=1, le=1)] | SkipJsonSchema[None] = None
    cache_prompt: bool | None = None
    record: bool = False
    session: Label | None = None
    session_number: Annotated[int, Field(ge=0, le=2**53)] | None = None
    phase: Label | None = None
    source_id: Label | None = None

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> ChatIn:
        self.asked()
        return self

    def asked(self) -> Asked:
        """The conversation in its parts."""
        return read_conversation([message.turn() for message in self.messages])

    def wishes(self) -> dict[str, JsonValue]:
        """What llama.cpp is told of how to answer."""
        passed = self.model_dump(
            include={
                "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
                "repeat_penalty", "stop", "cache_prompt",
            },
            exclude_none=True,
        )  # fmt: skip
        if (most := self.max_completion_tokens or self.max_tokens) is not None:
            passed["max_tokens"] = most
        if self.seed is not None:
            passed["seed"] = self.seed % _SEEDS
        return passed


class ChatMessageOut(BaseModel):
    """A reply."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoiceOut(BaseModel):
    """The one reply."""

    index: int = 0
    message: ChatMessageOut
    finish_reason: FinishReason


class ChatUsageOut(BaseModel):
    """Tokens of the conversation and of the reply."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnsweredByOut(BaseModel):
    """Who answered, and what was kept of it; in a stream it stands in the last piece.

    `checkpoint_id`: null for the bare base. `not_recorded`: why nothing was kept although `record`
    was asked for.
    """

    instance: str
    checkpoint_id: str | None
    base: str
    experience: ReceiptOut | None
    not_recorded: str | None


class ChatCompletionOut(BaseModel):
    """A reply in OpenAI's form; `sage` is this daemon's own."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoiceOut]
    usage: ChatUsageOut
    sage: AnsweredByOut


class ModelOut(BaseModel):
    """A name to talk to."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["sage-sleep"] = "sage-sleep"


class ModelsOut(BaseModel):
    """All names to talk to, in OpenAI's form."""

    object: Literal["list"] = "list"
    data: list[ModelOut]
