"""`sage-sleep settings`: what the daemon of this environment would start with, and why."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from app.cli.terminal import Json, Listing, print_json, print_table, read_settings
from app.settings import PREFIX, Settings

app = typer.Typer()


@app.command()
def settings(
    part: Annotated[
        str | None, typer.Argument(help="Part of a name, such as THRESHOLD; default: all.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only those that are not at their default.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the settings with their values, where each comes from, and what it means."""
    found = read_settings()
    rows = [
        _describe(found, name)
        for name in Settings.model_fields
        if part is None or part.upper() in f"{PREFIX}{name.upper()}"
    ]
    rows = [row for row in rows if not changed or row["from"] != "default"]
    if as_json:
        print_json(rows)
        return
    listing = Listing("name", "value", "from", "what it means", yielding=("value", "what it means"))
    for row in rows:
        listing.add_row(row["name"], json.dumps(row["value"]), row["from"], row["description"])
    print_table(listing, "No setting has that in its name.")


def _describe(found: Settings, name: str) -> dict[str, Any]:
    value = found.model_dump(mode="json")[name]
    variable = f"{PREFIX}{name.upper()}"
    source = "default"
    if any(variable == given.upper() for given in os.environ):
        source = "environment"
    elif name in found.model_fields_set:
        source = "file"
    return {
        "name": variable,
        "value": _without_password(value),
        "from": source,
        "description": Settings.model_fields[name].description or "",
    }


def _without_password(value: Any) -> Any:
    """A URL as it is, but for a password in it."""
    password = urlsplit(value).password if isinstance(value, str) and "://" in value else None
    return value if password is None else value.replace(f":{password}@", ":***@")
