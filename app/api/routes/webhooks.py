"""/v1/webhooks: who is told what happens, and what became of the messages."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends, Response

from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import Cursor, Limit, Now
from app.api.problems import problem_responses
from app.api.schemas import (
    ListOut,
    NewWebhookOut,
    WebhookDeliveryOut,
    WebhookIn,
    WebhookOut,
    WebhookPatch,
)
from app.domain.access import Access
from app.domain.webhooks import DeliveryStatus
from app.services import webhooks


async def require_unbound(access: AccessDep) -> Access:
    """Messages may be of any instance. Raises: InstanceForbidden."""
    access.require_unbound()
    return access


router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    route_class=GuardedRoute,
    dependencies=[Depends(require_unbound)],
)


@router.get("")
def list_webhooks(daemon: DaemonDep) -> ListOut[WebhookOut]:
    """List all webhooks, oldest first; none with its secret."""
    rows = webhooks.list_webhooks(daemon.db)
    return ListOut(data=[WebhookOut.model_validate(row) for row in rows], has_more=False, next=None)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def create_webhook(
    body: WebhookIn, daemon: DaemonDep, now: Now, response: Response
) -> NewWebhookOut:
    """Tell an address what happens from now on; the answer has the secret, this once."""
    row = webhooks.create_webhook(
        daemon.db,
        url=body.url,
        name=body.name,
        instances=body.instances,
        types=body.types,
        now=now,
    )
    response.headers["Location"] = f"/v1/webhooks/{row.id}"
    return NewWebhookOut.model_validate(row)


@router.get("/{webhook_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_webhook(webhook_id: str, daemon: DaemonDep) -> WebhookOut:
    """One webhook, without its secret."""
    return WebhookOut.model_validate(webhooks.get_webhook(daemon.db, webhook_id))


@router.patch("/{webhook_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def patch_webhook(webhook_id: str, body: WebhookPatch, daemon: DaemonDep) -> WebhookOut:
    """Change a webhook, or turn it off and on; one turned on is told what happens from then on."""
    sent = {name: getattr(body, name) for name in body.model_fields_set}
    changes = {
        name: value
        for name, value in sent.items()
        if value is not None or name in {"instances", "types"}
    }
    return WebhookOut.model_validate(webhooks.patch_webhook(daemon.db, webhook_id, changes))


@router.delete(
    "/{webhook_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
def delete_webhook(webhook_id: str, daemon: DaemonDep) -> None:
    """Delete a webhook, and all that was to be sent to it."""
    webhooks.delete_webhook(daemon.db, webhook_id)


@router.post("/{webhook_id}/rotate", responses=problem_responses(HTTPStatus.NOT_FOUND))
def rotate_webhook(webhook_id: str, daemon: DaemonDep, now: Now) -> NewWebhookOut:
    """Make a new secret, shown this once; the one before signs beside it for a day."""
    return NewWebhookOut.model_validate(webhooks.rotate_secret(daemon.db, webhook_id, now=now))


@router.post(
    "/{webhook_id}/test",
    status_code=HTTPStatus.ACCEPTED,
    response_model_exclude_unset=True,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def test_webhook(webhook_id: str, daemon: DaemonDep, now: Now) -> WebhookDeliveryOut:
    """Send a message of type `webhook.test`; its delivery says what became of it."""
    row = webhooks.send_test(daemon.db, webhook_id, now=now)
    return WebhookDeliveryOut.model_validate(row)


@router.get(
    "/{webhook_id}/deliveries",
    response_model_exclude_unset=True,
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
def list_webhook_deliveries(
    webhook_id: str,
    daemon: DaemonDep,
    status: DeliveryStatus | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> ListOut[WebhookDeliveryOut]:
    """List messages to a webhook, newest first; the dead ones are given up until sent again."""
    page = webhooks.page_deliveries(
        daemon.db, webhook_id, status=status, cursor=cursor, limit=limit
    )
    return ListOut(
        data=[WebhookDeliveryOut.model_validate(row) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    status_code=HTTPStatus.ACCEPTED,
    response_model_exclude_unset=True,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def retry_webhook_delivery(
    webhook_id: str, delivery_id: str, daemon: DaemonDep, now: Now
) -> WebhookDeliveryOut:
    """Send a message again, now, under its own id, and with all attempts before it."""
    row = webhooks.retry_delivery(daemon.db, webhook_id, delivery_id, now=now)
    return WebhookDeliveryOut.model_validate(row)
