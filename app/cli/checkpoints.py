"""Commands about checkpoints: list, promote, roll back."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.terminal import (
    AnyInstance,
    Instance,
    Json,
    Token,
    Url,
    daemon,
    losses,
    make_table,
    print_json,
    print_table,
)

app = typer.Typer()


@app.command()
def checkpoints(
    instance: AnyInstance = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """List checkpoints, newest first."""
    with daemon(url, token) as client:
        answer = client.list_checkpoints(instance=instance)
    if as_json:
        print_json(answer)
        return
    table = make_table("id", "instance", "cycle", "verdict", "aliases", "held-out loss", "status")
    for checkpoint in answer.data:
        table.add_row(
            checkpoint.id,
            checkpoint.instance,
            str(checkpoint.cycle_number),
            checkpoint.verdict["status"],
            ", ".join(checkpoint.aliases),
            losses(checkpoint.metrics),
            checkpoint.status,
        )
    print_table(table, "No checkpoint yet; a successful cycle publishes one.")


@app.command()
def promote(
    checkpoint_id: str,
    force: Annotated[bool, typer.Option(help="Although the gate refused it.")] = False,
    reason: str | None = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Make a checkpoint current."""
    with daemon(url, token) as client:
        aliases = client.promote(
            checkpoint_id, force=force, reason=reason, actor="sage-sleep promote"
        )
        print_json(aliases)


@app.command()
def rollback(
    instance: Instance = "default",
    reason: str | None = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Take current one promotion back."""
    with daemon(url, token) as client:
        print_json(client.rollback(instance, reason=reason, actor="sage-sleep rollback"))
