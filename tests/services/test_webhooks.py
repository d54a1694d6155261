"""Webhooks in the database: what is to be told, once; when it is tried again, and when never."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.db.engine import Database
from app.domain.webhooks import MAX_ATTEMPTS, DeliveryStatus, HookType
from app.errors import (
    InstanceNotFound,
    InvalidWebhook,
    WebhookDeliveryNotFound,
    WebhookDisabled,
    WebhookNotFound,
    WebhooksTooMany,
)
from app.services import webhooks
from app.services.instances import put_instance
from app.services.webhooks import GONE, Outcome, Parcel
from tests.publishing import NOW, publish, roll_back

DAY = timedelta(days=1)
URL = "https://board.example/hooks/sage"
FAILED = Outcome(error="no answer")


def add(
    db: Database, instances: list[str] | None = None, types: list[HookType] | None = None
) -> str:
    row = webhooks.create_webhook(db, url=URL, name="", instances=instances, types=types, now=NOW)
    return row.id


def due(db: Database, *, after: timedelta = timedelta(0)) -> list[Parcel]:
    webhooks.gather(db, now=NOW + after)
    return webhooks.list_due(db, now=NOW + after, limit=100, limit_each=100)


def types_of(parcels: list[Parcel]) -> list[str]:
    return [parcel.message["type"] for parcel in parcels]


def settle(db: Database, parcel: Parcel, outcome: Outcome) -> None:
    webhooks.settle(db, parcel, outcome, chance=0.5, now=NOW)


def only(db: Database, webhook_id: str) -> tuple[str, int]:
    """Status and attempts of a webhook's one message."""
    page = webhooks.page_deliveries(db, webhook_id, status=None, cursor=None, limit=10)
    (row,) = page.rows
    return row.status, row.attempts


@pytest.fixture
def root(data_dir: Path) -> Path:
    return data_dir / "checkpoints"


def test_each_is_told_once_of_what_it_asked_for_and_nothing_of_before(
    db: Database, root: Path
) -> None:
    publish(db, root, range(40))
    put_instance(db, "other", {}, now=NOW)
    everything, rollbacks, others = (
        add(db),
        add(db, types=[HookType.ROLLED_BACK]),
        add(db, ["other"]),
    )
    assert due(db) == []
    publish(db, root, range(40, 80), after=2.4)
    roll_back(db, root)
    for _ in range(2):  # the log is read once
        found = due(db)
        by = {
            one: types_of([p for p in found if p.webhook_id == one])
            for one in (everything, rollbacks, others)
        }
        assert by[everything] == ["checkpoint.promoted", "checkpoint.rolled_back"]
        assert by[rollbacks] == ["checkpoint.rolled_back"]
        assert by[others] == []
    assert {p.message["data"]["instance"] for p in found} == {"default"}


def test_message_is_tried_again_later_each_time_until_it_is_dead_and_sent_by_hand(
    db: Database,
) -> None:
    hook = add(db)
    webhooks.send_test(db, hook, now=NOW)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        (parcel,) = due(db, after=DAY)
        settle(db, parcel, FAILED)
        assert only(db, hook)[1] == attempt
        assert due(db) == []  # not at once
    assert only(db, hook) == (DeliveryStatus.DEAD, MAX_ATTEMPTS)
    assert due(db, after=DAY) == []
    assert webhooks.count_deliveries(db) == {"pending": 0, "delivered": 0, "dead": 1}
    webhooks.retry_delivery(db, hook, parcel.delivery_id, now=NOW)
    (again,) = due(db)
    assert again.delivery_id == parcel.delivery_id
    settle(db, again, Outcome(status_code=204))
    assert only(db, hook) == (DeliveryStatus.DELIVERED, 1)


def test_receiver_that_wants_no_more_is_told_no_more(db: Database, root: Path) -> None:
    hook = add(db)
    webhooks.send_test(db, hook, now=NOW)
    (parcel,) = due(db)
    settle(db, parcel, Outcome(status_code=410, error=GONE))
    assert webhooks.get_webhook(db, hook).disabled_reason == GONE
    assert only(db, hook)[0] == DeliveryStatus.DEAD
    with pytest.raises(WebhookDisabled, match="wants no more"):
        webhooks.send_test(db, hook, now=NOW)
    with pytest.raises(WebhookDisabled, match="wants no more"):
        webhooks.retry_delivery(db, hook, parcel.delivery_id, now=NOW)
    publish(db, root, range(40))
    assert due(db) == []
    assert webhooks.patch_webhook(db, hook, {"is_enabled": True}).disabled_reason is None
    assert due(db) == []  # from then on
    roll_back(db, root)
    assert types_of(due(db)) == ["checkpoint.rolled_back"]


def test_both_secrets_sign_for_a_day(db: Database) -> None:
    hook = add(db)
    first = webhooks.get_webhook(db, hook).secret
    second = webhooks.rotate_secret(db, hook, now=NOW).secret
    assert first != second
    webhooks.send_test(db, hook, now=NOW)
    assert due(db)[0].secrets == [second, first]
    assert due(db, after=DAY)[0].secrets == [second]


def test_deleted_webhook_takes_its_messages_along(db: Database) -> None:
    hook = add(db)
    webhooks.send_test(db, hook, now=NOW)
    (parcel,) = due(db)
    webhooks.delete_webhook(db, hook)
    settle(db, parcel, FAILED)  # it was on its way
    assert sum(webhooks.count_deliveries(db).values()) == 0
    assert webhooks.list_webhooks(db) == []
    with pytest.raises(WebhookNotFound):
        webhooks.get_webhook(db, hook)


def test_what_ended_is_forgotten_after_a_month(db: Database, root: Path) -> None:
    hook = add(db)
    publish(db, root, range(40))
    for parcel in due(db):
        settle(db, parcel, Outcome(status_code=200))
    roll_back(db, root)
    due(db, after=timedelta(days=31))
    assert webhooks.count_deliveries(db)["delivered"] == 0
    with pytest.raises(WebhookDeliveryNotFound):
        webhooks.retry_delivery(db, hook, parcel.delivery_id, now=NOW)


def test_what_cannot_be_is_refused(db: Database) -> None:
    with pytest.raises(InvalidWebhook):
        webhooks.create_webhook(db, url="board", name="", instances=None, types=None, now=NOW)
    with pytest.raises(InstanceNotFound, match="did you mean default"):
        add(db, ["defualt"])
    hook = add(db)
    with pytest.raises(InvalidWebhook):
        webhooks.patch_webhook(db, hook, {"url": "ftp://board.example"})
    for _ in range(webhooks.MAX_WEBHOOKS - 1):
        add(db)
    with pytest.raises(WebhooksTooMany):
        add(db)
