"""Commands about the mirror: what other machines have learned, and adopting it."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, only_id, print_answer, short_ids
from app.cli.terminal import Instance, Json, Listing, err, out, print_table
from app.client import MirroredCheckpoint, SleepClient

app = typer.Typer(
    no_args_is_help=True, help="The mirror: share checkpoints with other machines (SAGE_MIRROR)."
)


@app.command("list")
def list_(
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List what lies in the mirror, newest first: whose it is, whether it fits, whether it is here.

    How the copying of this machine's own stands is said below.
    """
    with daemon(url, token, ca_file) as client:
        found = client.get_mirror(instance)
    if as_json:
        print_answer(found)
        return
    table = Listing(
        "id", "instance", "no", "made", "base", "gate there", "here", yielding=("instance", "base")
    )
    short = short_ids(
        one for item in found.checkpoints for one in (item.id, item.checkpoint_id) if one
    )
    for item in found.checkpoints:
        table.add_row(
            short[item.id],
            item.instance,
            item.name.rpartition("/")[2].partition("-")[0],
            f"{item.created_at:%m-%d %H:%M}" if item.created_at else "",
            item.fault or _base(item),
            item.verdict or "",
            short[item.checkpoint_id] if item.checkpoint_id else "no",
        )
    print_table(table, f"Nothing lies in {found.remote} yet.")
    err.print(_standing(found.waiting, found.fault, is_pushed=found.pushed), soft_wrap=True)


@app.command("pull")
def pull(
    checkpoint: Annotated[
        str, typer.Argument(help="The beginning of its id, or its name: INSTANCE/NUMBER-ID.")
    ],
    instance: Instance = "default",
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Have the gate judge a checkpoint of another machine; it goes live as the policy says."""
    with daemon(url, token, ca_file) as client:
        name = checkpoint if "/" in checkpoint else _find(client, instance, checkpoint)
        cycle = client.pull_from_mirror(name, instance)
    if as_json:
        print_answer(cycle)
        return
    out.print(f"Cycle {cycle.number} ({cycle.id}) judges {name}.", soft_wrap=True)
    err.print("`sage-sleep watch` follows it; its report says what the gate found.")


def _find(client: SleepClient, instance: str, beginning: str) -> str:
    names = {item.id: item.name for item in client.get_mirror(instance).checkpoints}
    return names[only_id(names, beginning, "checkpoint in the mirror", "mirror list")]


def _base(item: MirroredCheckpoint) -> str:
    fits = {True: "this one", False: "another", None: "unknown here"}[item.is_same_base]
    return f"{fits}: {item.base_model}"


def _standing(waiting: int, fault: str | None, *, is_pushed: bool) -> str:
    waits = f"{waiting} of this machine's wait to be copied."
    if fault:
        return f"{waits} What failed last, and is tried again: {fault}"
    if waiting:
        return waits
    if not is_pushed:
        return "This instance's own are not copied there (policy push_to_mirror)."
    return "All of this machine's are there."
