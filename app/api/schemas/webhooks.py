"""Wire models of webhooks; a secret stands in the answer to making one, and in no other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.schemas.envelope import RequestModel, shown_as
from app.domain.exchange import SLUG_PATTERN, Label
from app.domain.webhooks import MAX_URL_CHARACTERS, DeliveryStatus, HookType

Address = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        description="Where messages are posted to; a public address, unless settings allow others.",
    ),
]
Instances = Annotated[
    list[Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]],
    Field(min_length=1, max_length=1000, description="Only of these; null for all."),
]
HookTypeIn = Annotated[HookType, Field(strict=False)]
Types = Annotated[
    list[HookTypeIn], Field(min_length=1, max_length=100, description="Only these; null for all.")
]


class WebhookIn(RequestModel):
    """Where what happens is told, and what of it."""

    model_config = shown_as(
        url="https://board.example/hooks/sage",
        name="board",
        types=["checkpoint.promoted", "sleep_cycle.failed"],
    )

    url: Address
    name: Label = "webhook"
    instances: Instances | None = None
    types: Types | None = None


class WebhookPatch(RequestModel):
    """What of a webhook changes; what is left out stays.

    Null instances or types are all of them; any other null changes nothing.
    """

    model_config = shown_as(is_enabled=True, types=None)

    url: Address | None = None
    name: Label | None = None
    instances: Instances | None = None
    types: Types | None = None
    is_enabled: bool | None = None


class WebhookOut(BaseModel):
    """A webhook; null instances or types are all of them."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    url: str
    name: str
    instances: list[str] | None
    types: list[str] | None
    is_enabled: bool
    disabled_reason: str | None
    older_secret_until: datetime | None
    created_at: datetime


class NewWebhookOut(WebhookOut):
    """A webhook with the secret that it signs with, which is shown this once."""

    secret: str


class HookDataOut(BaseModel):
    """What a message says: ids, and what goes with its type; no text of a conversation.

    `checkpoint`: what is live after a move, null for the bare base; else what it is about.
    """

    instance: str | None
    cycle: str | None
    checkpoint: str | None
    previous_checkpoint: str | None = None
    actor: str | None = None
    reason: str | None = None
    aliases: list[str] | None = None
    bad_reports: int | None = None


class HookMessageOut(BaseModel):
    """What is sent, as Standard Webhooks has it."""

    type: str
    timestamp: datetime
    data: HookDataOut


class WebhookDeliveryOut(BaseModel):
    """A message to a webhook; `id` is its `webhook-id`, the same at each attempt."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    webhook_id: str
    type: str
    message: HookMessageOut
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None
