"""`sage-sleep events`: what happened to an instance, and what happens."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from app.cli.asking import CaFile, Token, Url, daemon, print_answer
from app.cli.terminal import (
    Instance,
    Json,
    Limit,
    Listing,
    out,
    print_json,
    print_table,
    shown_time,
)
from app.client import Event

app = typer.Typer()


@app.command()
def events(
    instance: Instance = "default",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show what comes, until Ctrl-C.")
    ] = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="Running cycles' progress, too.")
    ] = False,
    limit: Limit = 20,
    url: Url = None,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show what happened to an instance, oldest first; with --json and --follow one a line."""
    with daemon(url, token, ca_file) as client:
        page = client.list_instance_events(
            instance, progress=progress, newest_first=True, limit=limit
        )
        if follow:
            with suppress(KeyboardInterrupt):
                last = 0
                for event in reversed(page.data):
                    _show(event, as_json=as_json)
                    last = event.id
                for event in client.watch_instance_events(instance, after=last):
                    if progress or not event.type.endswith(".progress"):
                        _show(event, as_json=as_json)
            return
    if as_json:
        print_answer(page)
        return
    listing = Listing("no", "when", "event", "facts", yielding=("facts",))
    for event in reversed(page.data):
        listing.add_row(str(event.id), shown_time(event.at), event.type, _facts(event))
    print_table(listing, "No event yet: post an exchange, or run `sage-sleep sleep --force`.")


def _show(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json(event.raw, indent=None)
    else:
        words = f"{event.id} {shown_time(event.at)} {event.type} {_facts(event)}"
        out.print(words, markup=False, soft_wrap=True)


def _facts(event: Event) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in event.data.raw.items()
        if isinstance(value, int | float | str)
    )
