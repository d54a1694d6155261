"""Commands about webhooks: who is told what happens, and what became of the messages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.asking import ID_LENGTH, CaFile, Token, Url, daemon, only_id, print_answer, short_ids
from app.cli.terminal import Json, Limit, Listing, SomeInstances, err, out, print_json, print_table
from app.client import SleepClient
from app.domain.webhooks import DeliveryStatus, HookType

app = typer.Typer(no_args_is_help=True, help="Webhooks: tell other programs what happens.")

MOST = 500
"""Messages that the beginning of an id is looked for among: as many as one answer holds."""

WebhookId = Annotated[str, typer.Argument(help="Id of the webhook, or its beginning.")]


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="Where messages are posted to.")],
    name: Annotated[str, typer.Option(help="What it is, for the list.")] = "webhook",
    instance: SomeInstances = None,
    type_: Annotated[
        list[HookType] | None,
        typer.Option("--type", help="Only this; may be given several times; default: all."),
    ] = None,
    daemon_url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Tell an address what happens from now on, and print the secret it is signed with."""
    with daemon(daemon_url, token, ca_file) as client:
        made = client.create_webhook(
            url, name=name, instances=instance or None, types=[*type_] if type_ else None
        )
    if as_json:
        print_answer(made)
        return
    sys.stdout.write(f"{made.secret}\n")
    err.print(
        f"This is shown once; `sage-sleep webhooks test {made.id}` sends a first message.",
        soft_wrap=True,
    )


@app.command("list")
def list_(
    url: Url = None, token: Token = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """List all webhooks, oldest first; none with its secret."""
    with daemon(url, token, ca_file) as client:
        found = client.list_webhooks()
    if as_json:
        print_json([item.raw for item in found.data])
        return
    table = Listing(
        "id", "name", "url", "instances", "types", "state",
        yielding=("name", "url", "instances", "types", "state"),
    )  # fmt: skip
    short = short_ids(item.id for item in found.data)
    for item in found.data:
        table.add_row(
            short[item.id],
            item.name,
            item.url,
            "all" if item.instances is None else ", ".join(item.instances),
            "all" if item.types is None else ", ".join(item.types),
            "on" if item.is_enabled else f"off: {item.disabled_reason or 'by hand'}",
        )
    print_table(table, "No webhook yet; make one with `sage-sleep webhooks add URL`.")


@app.command("remove")
def remove(
    webhook_id: WebhookId, url: Url = None, token: Token = None, ca_file: CaFile = None
) -> None:
    """Delete a webhook, and all that was to be sent to it."""
    with daemon(url, token, ca_file) as client:
        webhook_id = _whole(client, webhook_id)
        client.delete_webhook(webhook_id)
    out.print(f"Webhook {webhook_id} is gone.")


@app.command("enable")
def enable(
    webhook_id: WebhookId,
    off: Annotated[bool, typer.Option("--off", help="Turn it off instead.")] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Turn a webhook on again, after it was turned off or its receiver answered 410."""
    with daemon(url, token, ca_file) as client:
        webhook_id = _whole(client, webhook_id)
        client.patch_webhook(webhook_id, is_enabled=not off)
    out.print(f"Webhook {webhook_id} is {'off' if off else 'on'}.")


@app.command("rotate")
def rotate(
    webhook_id: WebhookId,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Make a new secret and print it; the one before signs beside it for a day."""
    with daemon(url, token, ca_file) as client:
        made = client.rotate_webhook(_whole(client, webhook_id))
    if as_json:
        print_answer(made)
    else:
        sys.stdout.write(f"{made.secret}\n")


@app.command("test")
def try_out(
    webhook_id: WebhookId,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a message of type webhook.test; `deliveries` shows what became of it."""
    with daemon(url, token, ca_file) as client:
        made = client.test_webhook(_whole(client, webhook_id))
    if as_json:
        print_answer(made)
    else:
        out.print(f"Message {made.id} is on its way.")
        err.print(f"`sage-sleep webhooks deliveries {webhook_id}` shows what became of it.")


@app.command("deliveries")
def deliveries(
    webhook_id: WebhookId,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 50,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List the newest messages to a webhook, and what became of each."""
    with daemon(url, token, ca_file) as client:
        whole = _whole(client, webhook_id)
        found = client.list_webhook_deliveries(whole, status=status, limit=limit)
    if as_json:
        print_json([item.raw for item in found.data])
        return
    table = Listing(
        "id", "type", "made", "state", "tries", "last answer", yielding=("last answer",)
    )
    short = short_ids(item.id for item in found.data)
    for item in found.data:
        table.add_row(
            short[item.id],
            item.type,
            f"{item.created_at:%m-%d %H:%M}",
            item.status,
            str(item.attempts),
            item.last_error or str(item.last_status_code or ""),
        )
    print_table(table, "Nothing was sent to it yet.")


@app.command("retry")
def retry(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(help="Id of the message, or its beginning.")],
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Send a message again, now, under its own id."""
    with daemon(url, token, ca_file) as client:
        whole = _whole(client, webhook_id)
        made = client.retry_webhook_delivery(whole, _whole_message(client, whole, delivery_id))
    if as_json:
        print_answer(made)
    else:
        out.print(f"Message {made.id} is sent again.")


def _whole(client: SleepClient, beginning: str) -> str:
    if len(beginning) >= ID_LENGTH:
        return beginning
    ids = (item.id for item in client.list_webhooks().data)
    return only_id(ids, beginning, "webhook", "webhooks list")


def _whole_message(client: SleepClient, webhook_id: str, beginning: str) -> str:
    """Among the newest messages."""
    if len(beginning) >= ID_LENGTH:
        return beginning
    ids = (item.id for item in client.list_webhook_deliveries(webhook_id, limit=MOST).data)
    return only_id(ids, beginning, "message", f"webhooks deliveries {webhook_id}")
