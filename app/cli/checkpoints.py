"""Commands about checkpoints: list, promote, dismiss, roll back, pin, download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.asking import (
    CaFile,
    CheckpointId,
    Token,
    Url,
    daemon,
    losses,
    print_aliases,
    print_answer,
    short_ids,
    whole_id,
)
from app.cli.terminal import AnyInstance, Instance, Json, Listing, out, print_table, shown_time
from app.client import Checkpoint

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
    short = short_ids(checkpoint.id for checkpoint in answer.data)
    listing = Listing(
        "id", "instance", "cycle", "when", "verdict", "aliases", "held-out loss",
        yielding=("instance",),
    )  # fmt: skip
    for checkpoint in answer.data:
        listing.add_row(
            short[checkpoint.id],
            checkpoint.instance,
            str(checkpoint.cycle_number),
            shown_time(checkpoint.created_at),
            _verdict(checkpoint),
            ", ".join([*checkpoint.aliases, *(["pinned"] if checkpoint.pinned else [])]),
            losses(checkpoint.metrics),
        )
    print_table(listing, "No checkpoint yet; a successful cycle publishes one.")


@app.command()
def promote(
    checkpoint_id: CheckpointId,
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
            whole_id(client.list_checkpoints, checkpoint_id, "checkpoint"),
            force=force,
            reason=reason,
            actor="sage-sleep promote",
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


@app.command()
def pin(
    checkpoint_id: CheckpointId,
    off: Annotated[bool, typer.Option("--off", help="Let retention have it again.")] = False,
    note: Annotated[str | None, typer.Option(help="Kept with the checkpoint.")] = None,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Keep a checkpoint's files, whatever the policy lets go."""
    changes = {"pinned": not off} | ({} if note is None else {"note": note})
    with daemon(url, token, ca_file) as client:
        whole = whole_id(client.list_checkpoints, checkpoint_id, "checkpoint")
        checkpoint = client.patch_checkpoint(whole, **changes)
    if as_json:
        print_answer(checkpoint)
    else:
        kept = "stays" if checkpoint.pinned else "goes when the policy lets it go"
        out.print(f"Checkpoint {checkpoint.id} {kept}.", soft_wrap=True)


@app.command()
def download(
    checkpoint_id: CheckpointId,
    directory: Annotated[
        Path, typer.Argument(help="Receives a directory of the checkpoint's own; made if absent.")
    ],
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Download a checkpoint as PEFT reads it, with its manifest; every byte is checked."""
    with daemon(url, token, ca_file) as client:
        whole = whole_id(client.list_checkpoints, checkpoint_id, "checkpoint")
        path = client.download_checkpoint(whole, directory)
    if as_json:
        print_answer({"checkpoint": whole, "directory": str(path)})
    else:
        out.print(f"{path}", markup=False, soft_wrap=True)


def _verdict(checkpoint: Checkpoint) -> str:
    """What the gate said, and what became of the files since."""
    if checkpoint.status == "ready":
        return checkpoint.verdict.status
    return f"{checkpoint.verdict.status}, {checkpoint.status}"


def _take_back(instance: str) -> str:
    return f"Sessions that watch load it now; `sage-sleep rollback -i {instance}` takes it back."
