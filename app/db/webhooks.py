"""Queries on webhooks and on what is sent to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.paging import Page, fetch_page
from app.db.tables import EventRow, InstanceRow, WebhookDeliveryRow, WebhookRow
from app.domain.webhooks import DeliveryStatus
from app.errors import WebhookDeliveryNotFound, WebhookNotFound

FURTHEST = timedelta(hours=26)
"""No attempt is planned further ahead; what is was planned by a clock that was wrong."""


def insert_webhook(session: Session, values: Mapping[str, Any]) -> WebhookRow:
    """Add a webhook."""
    row = WebhookRow(**values)
    session.add(row)
    session.flush()
    return row


def get_webhook(session: Session, webhook_id: str) -> WebhookRow:
    """The webhook of this id. Raises: WebhookNotFound."""
    row = session.get(WebhookRow, webhook_id)
    if row is None:
        raise WebhookNotFound(
            f"There is no webhook {webhook_id!r}; `sage-sleep webhooks list` shows the ids."
        )
    return row


def list_webhooks(session: Session) -> Sequence[WebhookRow]:
    """All webhooks, oldest first."""
    return session.scalars(sa.select(WebhookRow).order_by(WebhookRow.id)).all()


def delete_webhook(session: Session, webhook_id: str) -> None:
    """Delete a webhook and all that was to be sent to it. Raises: WebhookNotFound."""
    get_webhook(session, webhook_id)
    session.execute(
        sa.delete(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == webhook_id)
    )
    session.execute(sa.delete(WebhookRow).where(WebhookRow.id == webhook_id))


def list_new_events(
    session: Session, *, after_seq: int, types: Collection[str], limit: int
) -> Sequence[tuple[EventRow, str]]:
    """Events of these types after a number, oldest first, each with its instance's slug."""
    query = (
        sa.select(EventRow, InstanceRow.slug)
        .join(InstanceRow, InstanceRow.id == EventRow.instance_id)
        .where(EventRow.seq > after_seq, EventRow.type.in_(sorted(types)))
        .order_by(EventRow.seq)
        .limit(limit)
    )
    return [(event, slug) for event, slug in session.execute(query)]


def insert_delivery(session: Session, values: Mapping[str, Any]) -> WebhookDeliveryRow:
    """Add a message that waits."""
    row = WebhookDeliveryRow(**values, status=DeliveryStatus.PENDING, attempts=0)
    session.add(row)
    session.flush()
    return row


def get_delivery(session: Session, webhook_id: str, delivery_id: str) -> WebhookDeliveryRow:
    """A message to a webhook. Raises: WebhookNotFound, WebhookDeliveryNotFound."""
    get_webhook(session, webhook_id)
    row = session.scalar(
        sa.select(WebhookDeliveryRow).where(
            WebhookDeliveryRow.webhook_id == webhook_id, WebhookDeliveryRow.id == delivery_id
        )
    )
    if row is None:
        raise WebhookDeliveryNotFound(f"This webhook has no delivery {delivery_id!r}.")
    return row


def page_deliveries(
    session: Session, webhook_id: str, *, status: str | None, cursor: str | None, limit: int
) -> Page[WebhookDeliveryRow]:
    """Messages to a webhook, newest first. Raises: WebhookNotFound, CursorNotFound."""
    get_webhook(session, webhook_id)
    conditions = [WebhookDeliveryRow.webhook_id == webhook_id]
    if status is not None:
        conditions.append(WebhookDeliveryRow.status == status)
    return fetch_page(session, WebhookDeliveryRow, conditions, cursor=cursor, limit=limit)


def list_due(
    session: Session, *, now: datetime, limit: int, limit_each: int
) -> Sequence[tuple[WebhookDeliveryRow, WebhookRow]]:
    """Messages whose time has come, to webhooks that are on, with these.

    Args:
        limit_each: Of one webhook, so that one with many that wait leaves room to the others.
    """
    at = WebhookDeliveryRow.next_attempt_at
    place = sa.func.row_number().over(
        partition_by=WebhookDeliveryRow.webhook_id, order_by=(at, WebhookDeliveryRow.seq)
    )
    waiting = (
        sa.select(WebhookDeliveryRow.seq, place.label("place"))
        .join(WebhookRow, WebhookRow.id == WebhookDeliveryRow.webhook_id)
        .where(
            WebhookDeliveryRow.status == DeliveryStatus.PENDING,
            WebhookRow.is_enabled,
            sa.or_(at <= now, at > now + FURTHEST),
        )
        .subquery()
    )
    query = (
        sa.select(WebhookDeliveryRow, WebhookRow)
        .join(WebhookRow, WebhookRow.id == WebhookDeliveryRow.webhook_id)
        .join(waiting, waiting.c.seq == WebhookDeliveryRow.seq)
        .where(waiting.c.place <= limit_each)
        .order_by(at, WebhookDeliveryRow.seq)
        .limit(limit)
    )
    return [(delivery, webhook) for delivery, webhook in session.execute(query)]


def end_pending(session: Session, webhook_id: str, *, error: str, now: datetime) -> None:
    """Give up all that waits for a webhook."""
    session.execute(
        sa.update(WebhookDeliveryRow)
        .where(
            WebhookDeliveryRow.webhook_id == webhook_id,
            WebhookDeliveryRow.status == DeliveryStatus.PENDING,
        )
        .values(status=DeliveryStatus.DEAD, last_error=error, next_attempt_at=None, ended_at=now)
    )


def delete_ended(session: Session, *, before: datetime) -> None:
    """Forget what ended before an instant."""
    session.execute(sa.delete(WebhookDeliveryRow).where(WebhookDeliveryRow.ended_at < before))


def count_by_status(session: Session) -> dict[str, int]:
    """Messages by what became of them."""
    query = sa.select(WebhookDeliveryRow.status, sa.func.count()).group_by(
        WebhookDeliveryRow.status
    )
    return {str(status): int(count) for status, count in session.execute(query)}
