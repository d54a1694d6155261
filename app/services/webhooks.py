"""Webhooks: making and changing them, what is to be sent, and what became of it.

Messages are made of the event log, once for each event and webhook, in the transaction that moves
the webhook's place in the log: a restart loses none, and sends one again only under the same id.
A secret has to sign, so it lies in the database as it is, and leaves it when it is made alone.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.clock import new_id
from app.db import events, instances, webhooks
from app.db.engine import Database
from app.db.paging import Page
from app.db.tables import WebhookDeliveryRow, WebhookRow
from app.domain.nearest import did_you_mean, nearest
from app.domain.webhooks import (
    TEST_TYPE,
    DeliveryStatus,
    HookType,
    check_url,
    message_of,
    retry_delay,
)
from app.errors import InstanceNotFound, WebhookDisabled, WebhooksTooMany
from app.log import get_logger

SECRET_BYTES = 32
MAX_WEBHOOKS = 100
EVENTS_AT_ONCE = 200
KEPT_DAYS = 30
OLDER_SECRET_HOURS = 24
"""For so long a replaced secret signs too, so that a receiver need not change with it."""

GONE = "410: the receiver wants no more"
GONE_STATUS = 410

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """A message with all that sending it takes."""

    delivery_id: str
    webhook_id: str
    url: str
    secrets: Sequence[str]
    message: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        status_code: None where no answer came.
        error: Without one it was taken.
        retry_after: Seconds that the receiver asked for.
    """

    status_code: int | None = None
    error: str | None = None
    retry_after: float | None = None


def new_secret() -> str:
    """As Standard Webhooks writes one; a prefix by which scanners find a leaked one."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def create_webhook(
    db: Database,
    *,
    url: str,
    name: str,
    instances: Collection[str] | None,
    types: Collection[HookType] | None,
    now: datetime,
) -> WebhookRow:
    """Make a webhook that is told what happens from now on; its row alone has the secret.

    Raises: InvalidWebhook, InstanceNotFound, WebhooksTooMany.
    """
    check_url(url)
    with db.write() as session:
        _require_instances(session, instances or ())
        if len(webhooks.list_webhooks(session)) >= MAX_WEBHOOKS:
            raise WebhooksTooMany(
                f"There are {MAX_WEBHOOKS} webhooks, as many as may be; remove one first."
            )
        return webhooks.insert_webhook(
            session,
            {
                "id": new_id(),
                "url": url,
                "name": name,
                "instances": _listed(instances),
                "types": _listed(types),
                "secret": new_secret(),
                "is_enabled": True,
                "last_event_seq": events.find_newest_seq(session),
                "created_at": now,
            },
        )


def list_webhooks(db: Database) -> Sequence[WebhookRow]:
    """All webhooks, oldest first."""
    with db.read() as session:
        return webhooks.list_webhooks(session)


def get_webhook(db: Database, webhook_id: str) -> WebhookRow:
    """One webhook. Raises: WebhookNotFound."""
    with db.read() as session:
        return webhooks.get_webhook(session, webhook_id)


def patch_webhook(db: Database, webhook_id: str, changes: Mapping[str, Any]) -> WebhookRow:
    """Change url, name, instances, types or whether it is on.

    One that is turned on again is told what happens from then on, and what still waits.

    Raises: WebhookNotFound, InvalidWebhook, InstanceNotFound.
    """
    if "url" in changes:
        check_url(changes["url"])
    with db.write() as session:
        row = webhooks.get_webhook(session, webhook_id)
        _require_instances(session, changes.get("instances") or ())
        is_turned_on = changes.get("is_enabled") and not row.is_enabled
        for name, value in changes.items():
            setattr(row, name, _listed(value) if name in {"instances", "types"} else value)
        if is_turned_on:
            row.disabled_reason = None
            row.last_event_seq = events.find_newest_seq(session)
        session.flush()
        return row


def delete_webhook(db: Database, webhook_id: str) -> None:
    """Delete a webhook and all that was to be sent to it. Raises: WebhookNotFound."""
    with db.write() as session:
        webhooks.delete_webhook(session, webhook_id)


def rotate_secret(db: Database, webhook_id: str, *, now: datetime) -> WebhookRow:
    """Make a new secret; the one before signs beside it for a day. Raises: WebhookNotFound."""
    with db.write() as session:
        row = webhooks.get_webhook(session, webhook_id)
        row.older_secret = row.secret
        row.older_secret_until = now + timedelta(hours=OLDER_SECRET_HOURS)
        row.secret = new_secret()
        session.flush()
        return row


def send_test(db: Database, webhook_id: str, *, now: datetime) -> WebhookDeliveryRow:
    """Let a message that says nothing be sent. Raises: WebhookNotFound, WebhookDisabled."""
    with db.write() as session:
        _require_enabled(webhooks.get_webhook(session, webhook_id))
        message = message_of(TEST_TYPE, at=now, instance=None)
        return _add(session, webhook_id, message, event_seq=None, now=now)


def page_deliveries(
    db: Database, webhook_id: str, *, status: str | None, cursor: str | None, limit: int
) -> Page[WebhookDeliveryRow]:
    """Messages to a webhook, newest first. Raises: WebhookNotFound, CursorNotFound."""
    with db.read() as session:
        return webhooks.page_deliveries(
            session, webhook_id, status=status, cursor=cursor, limit=limit
        )


def retry_delivery(
    db: Database, webhook_id: str, delivery_id: str, *, now: datetime
) -> WebhookDeliveryRow:
    """Let a message be sent again, now, under its own id, with all attempts before it.

    Raises: WebhookNotFound, WebhookDeliveryNotFound, WebhookDisabled.
    """
    with db.write() as session:
        row = webhooks.get_delivery(session, webhook_id, delivery_id)
        _require_enabled(webhooks.get_webhook(session, webhook_id))
        row.status = DeliveryStatus.PENDING
        row.attempts = 0
        row.next_attempt_at = now
        row.ended_at = None
        session.flush()
        return row


def gather(db: Database, *, now: datetime) -> None:
    """Make the messages that the event log asks for; forget what ended long ago."""
    with db.read() as session:
        newest = events.find_newest_seq(session)
        behind = [
            row.id
            for row in webhooks.list_webhooks(session)
            if row.is_enabled and row.last_event_seq < newest
        ]
    for webhook_id in behind:
        with db.write() as session:
            _gather_one(session, webhook_id, newest, now=now)
    if behind:
        with db.write() as session:
            webhooks.delete_ended(session, before=now - timedelta(days=KEPT_DAYS))


def list_due(db: Database, *, now: datetime, limit: int, limit_each: int) -> list[Parcel]:
    """What is to be sent now."""
    with db.read() as session:
        return [
            Parcel(
                delivery_id=delivery.id,
                webhook_id=webhook.id,
                url=webhook.url,
                secrets=_secrets(webhook, now),
                message=delivery.message,
            )
            for delivery, webhook in webhooks.list_due(
                session, now=now, limit=limit, limit_each=limit_each
            )
        ]


def list_alarms(db: Database, *, now: datetime) -> list[Parcel]:
    """A message that the database is damaged for every webhook that wants it, and in no database.

    A webhook that is bound to instances is told too: the damage is theirs as well.
    """
    message = message_of(HookType.DATABASE_DAMAGED, at=now, instance=None)
    with db.read() as session:
        return [
            Parcel(
                delivery_id=new_id(),
                webhook_id=row.id,
                url=row.url,
                secrets=_secrets(row, now),
                message=message,
            )
            for row in webhooks.list_webhooks(session)
            if row.is_enabled and (row.types is None or HookType.DATABASE_DAMAGED in row.types)
        ]


def settle(db: Database, parcel: Parcel, outcome: Outcome, *, chance: float, now: datetime) -> None:
    """Note how an attempt ended, and when the next is; nothing where the webhook is gone."""
    with db.write() as session:
        found = session.get(WebhookRow, parcel.webhook_id)
        if found is None:
            return
        row = webhooks.get_delivery(session, parcel.webhook_id, parcel.delivery_id)
        row.attempts += 1
        row.last_status_code, row.last_error = outcome.status_code, outcome.error
        delay = retry_delay(row.attempts, chance=chance, retry_after=outcome.retry_after)
        if outcome.error is None:
            _end(row, DeliveryStatus.DELIVERED, now)
        elif outcome.status_code == GONE_STATUS:
            found.is_enabled, found.disabled_reason = False, GONE
            session.flush()
            webhooks.end_pending(session, found.id, error=GONE, now=now)
        elif delay is None:
            _end(row, DeliveryStatus.DEAD, now)
        elif row.status == DeliveryStatus.PENDING:  # and not given up with its webhook meanwhile
            row.next_attempt_at = now + timedelta(seconds=delay)
        attempts, status = row.attempts, row.status
    _log.info(
        "webhook.attempted",
        webhook_id=parcel.webhook_id,
        delivery_id=parcel.delivery_id,
        attempts=attempts,
        status=status,
        status_code=outcome.status_code,
    )


def count_deliveries(db: Database) -> dict[str, int]:
    """Messages by what became of them."""
    with db.read() as session:
        found = webhooks.count_by_status(session)
    return {status.value: found.get(status, 0) for status in DeliveryStatus}


def _gather_one(session: Session, webhook_id: str, newest: int, *, now: datetime) -> None:
    row = session.get(WebhookRow, webhook_id)
    if row is None or not row.is_enabled:
        return
    types = row.types if row.types is not None else list(HookType)
    found = webhooks.list_new_events(
        session, after_seq=row.last_event_seq, types=types, limit=EVENTS_AT_ONCE
    )
    for event, slug in found:
        if row.instances is None or slug in row.instances:
            message = message_of(
                event.type,
                at=event.at,
                instance=slug,
                cycle_id=event.cycle_id,
                checkpoint_id=event.checkpoint_id,
                facts=event.facts,
            )
            _add(session, row.id, message, event_seq=event.seq, now=now)
    is_all = len(found) < EVENTS_AT_ONCE
    row.last_event_seq = max(row.last_event_seq, newest if is_all else found[-1][0].seq)


def _add(
    session: Session,
    webhook_id: str,
    message: Mapping[str, Any],
    *,
    event_seq: int | None,
    now: datetime,
) -> WebhookDeliveryRow:
    return webhooks.insert_delivery(
        session,
        {
            "id": new_id(),
            "webhook_id": webhook_id,
            "event_seq": event_seq,
            "type": message["type"],
            "message": message,
            "next_attempt_at": now,
            "created_at": now,
        },
    )


def _end(row: WebhookDeliveryRow, status: DeliveryStatus, now: datetime) -> None:
    row.status, row.next_attempt_at, row.ended_at = status, None, now


def _secrets(row: WebhookRow, now: datetime) -> list[str]:
    is_older_good = row.older_secret_until is not None and now < row.older_secret_until
    return [row.secret, *([row.older_secret] if row.older_secret and is_older_good else [])]


def _require_enabled(row: WebhookRow) -> None:
    if not row.is_enabled:
        raise WebhookDisabled(
            f"The webhook is off ({row.disabled_reason or 'turned off by hand'}); turn it on first."
        )


def _require_instances(session: Session, slugs: Collection[str]) -> None:
    known = [row.slug for row in instances.list_instances(session)] if slugs else []
    for slug in slugs:
        if slug not in known:
            raise InstanceNotFound(
                f"There is no instance {slug!r}; {_hint(slug, known)}",
                instance=slug,
                pointer="/instances",
            )


def _hint(slug: str, known: Sequence[str]) -> str:
    return did_you_mean(nearest(slug, known)) or "`sage-sleep stats` lists all."


def _listed(values: Collection[str] | None) -> list[str] | None:
    return None if values is None else sorted({str(value) for value in values})
