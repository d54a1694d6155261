"""Commands about checkpoints: list, promote, dismiss, roll back."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, losses, print_aliases, print_answer
from app.cli.terminal import AnyInstance, Instance, Json, make_table, print_table

app = typer.Typer()

Why = Annotated[str | None, typer.Option(help="Kept with the move of the alias.")]


@app.command()
def checkpoints(
    instance: AnyInstance = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List checkpoints, newest first."""
    with daemon(url, token, ca_file) as client:
        answer = client.list_checkpoints(instance=instance)
    if as_json:
        print_answer(answer)
        return
    table = make_table("id", "instance", "cycle", "verdict", "aliases", "held-out loss", "status")
    for checkpoint in answer.data:
        table.add_row(
            checkpoint.id,
            checkpoint.instance,
            str(checkpoint.cycle_number),
            checkpoint.verdict.status,
            ", ".join(checkpoint.aliases),
            losses(checkpoint.metrics),
            checkpoint.status,
        )
    print_table(table, "No checkpoint yet; a successful cycle publishes one.")


@app.command()
def promote(
    checkpoint_id: str,
    force: Annotated[bool, typer.Option(help="Although the gate rejected it.")] = False,
    reason: Why = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Make a checkpoint current."""
    with daemon(url, token, ca_file) as client:
        aliases = client.promote(
            checkpoint_id, force=force, reason=reason, actor="sage-sleep promote"
        )
    print_aliases(aliases, as_json=as_json, next_step=_take_back(aliases.instance))


@app.command()
def rollback(
    instance: Instance = "default",
    reason: Why = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Take current one promotion back."""
    with daemon(url, token, ca_file) as client:
        aliases = client.rollback(instance, reason=reason, actor="sage-sleep rollback")
    print_aliases(
        aliases,
        as_json=as_json,
        next_step="Sessions that watch load it now; `sage-sleep promote ID` goes forward again.",
    )


@app.command()
def dismiss(
    instance: Instance = "default",
    reason: Why = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Refuse the candidate that waits for a person; its experiences go back to the buffer."""
    with daemon(url, token, ca_file) as client:
        aliases = client.dismiss_candidate(instance, reason=reason, actor="sage-sleep dismiss")
    next_step = f"`sage-sleep sleep -i {instance} --force` tries again."
    print_aliases(aliases, as_json=as_json, next_step=next_step)


def _take_back(instance: str) -> str:
    return f"Sessions that watch load it now; `sage-sleep rollback -i {instance}` takes it back."
