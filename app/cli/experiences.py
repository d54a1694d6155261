"""Commands about experiences that the daemon holds: find them, erase them."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, print_answer, short_ids, whole_id
from app.cli.terminal import (
    AnyInstance,
    Json,
    Limit,
    Listing,
    err,
    fail,
    out,
    print_table,
    shown_time,
)
from app.client import Erasure

app = typer.Typer()


@app.command()
def search(
    text: Annotated[
        str | None,
        typer.Argument(help="What prompt or response holds; without it, all are listed."),
    ] = None,
    instance: AnyInstance = None,
    status: Annotated[
        str | None, typer.Option(help="Only these: buffered, consolidated, filtered, ...")
    ] = None,
    min_salience: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only of this total or more.")
    ] = None,
    limit: Limit = 20,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Find experiences, newest first; their texts are shown."""
    with daemon(url, token, ca_file) as client:
        answer = client.list_experiences(
            instance=instance, status=status, min_salience=min_salience, text=text, limit=limit
        )
    if as_json:
        print_answer(answer)
        return
    short = short_ids(experience.id for experience in answer.data)
    listing = Listing(
        "id", "instance", "when", "status", "total", "prompt -> response",
        yielding=("instance", "prompt -> response"),
    )  # fmt: skip
    for experience in answer.data:
        listing.add_row(
            short[experience.id],
            experience.instance,
            shown_time(experience.occurred_at or experience.received_at),
            experience.status,
            f"{experience.salience.total:.2f}",
            f"{experience.prompt} -> {experience.response}",
        )
    print_table(listing, "No such experience.")
    if answer.has_more:
        err.print("There are more; --limit shows them, `sage-sleep export` writes all.")


@app.command()
def erase(
    experience_id: Annotated[
        str, typer.Argument(help="Id of the experience, or its beginning.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Erase an experience and the copies of its text, for good; checkpoints that learned are named.

    `sage-sleep rebuild` makes a checkpoint that has not learned from it.
    """
    with daemon(url, token, ca_file) as client:
        whole = whole_id(client.list_experiences, experience_id, "experience")
        if not yes:
            found = client.get_experience(whole)
            err.print(f"{whole} of {found.instance}, {found.status}: {found.prompt}", markup=False)
            if not typer.confirm("Erase it, and the copies of its text?", err=True):
                fail("Nothing was erased.")
        done = client.erase_experience(whole)
    if as_json:
        print_answer(done)
    else:
        _print_erasure(done)


def _print_erasure(done: Erasure) -> None:
    out.print(f"Experience {done.id} is erased.")
    if done.purged is False:
        out.print("  Its bytes go from the files once a long reader ends: erase it again then.")
    for words, ids in (
        ("erased with it, since they repeat it", done.erased_with),
        ("its text was taken from", done.taken_from),
        ("say a part of it by themselves, and stay", done.repeated_in),
        ("checkpoints that learned from it", done.checkpoints),
    ):
        if ids:
            out.print(f"  {words}: {', '.join(ids)}", markup=False, soft_wrap=True)
    if done.checkpoints:
        err.print("`sage-sleep rebuild` makes one that has not learned from it.", markup=False)
