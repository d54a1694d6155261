"""Commands about access tokens; they work on the database, with or without a running daemon."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.asking import only_id
from app.cli.terminal import (
    Json,
    Listing,
    SomeInstances,
    address_of,
    err,
    explained,
    fail,
    out,
    print_json,
    print_table,
    read_settings,
)
from app.clock import utc_now
from app.domain.access import Scope

if TYPE_CHECKING:
    from app.db.engine import Database
    from app.db.tables import TokenRow
    from app.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Access tokens.")

FIRST_ONE = """\
It is the first token, so from now on the daemon demands one of everybody, sessions and commands
included, and answers 401 without; revoking it does not open the daemon again
(SAGE_REQUIRE_TOKENS=false would). Give it to whoever asks the daemon:
  commands  export SAGE_TOKEN=TOKEN
  Python    SleepClient("{url}", token="TOKEN")
  curl      curl -H "Authorization: Bearer TOKEN" {url}/stats
  console   asks for it"""

_SPAN = re.compile(r"(\d{1,5})([mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who holds it, for the list.")],
    scope: Annotated[
        list[Scope],
        typer.Option(
            "--scope",
            "-s",
            help="May be given several times. ingest: post exchanges; report: say how a checkpoint "
            "does live; read: look at everything; operate: sleep, promote, roll back; admin: "
            "erase, delete, settings.",
        ),
    ],
    instance: SomeInstances = None,
    expires_in: Annotated[
        str | None, typer.Option(help="Such as 12h, 30d or 8w; default: never.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Its own limit; 0: none; default: the daemon's.")
    ] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(min=1, help="Its own limit; default: the daemon's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it: this once, since only its hash is kept."""
    from app.services import tokens  # noqa: PLC0415

    now = utc_now()
    with _database() as (settings, db):
        made = tokens.create_token(
            db,
            name=name,
            scopes=set(scope),
            instances=instance or None,
            expires_at=_expiry(expires_in, now) if expires_in else None,
            requests_per_minute=requests_per_minute,
            max_body_bytes=max_body_bytes,
            now=now,
        )
    if as_json:
        print_json({**_public(made.row), "token": made.text})
    else:
        sys.stdout.write(made.text + "\n")
        err.print(
            f"This is shown once; `sage-sleep tokens revoke {made.row.id}` takes it back.",
            soft_wrap=True,
        )
    if made.is_first and settings.require_tokens is False:
        err.print("SAGE_REQUIRE_TOKENS=false: the daemon demands none all the same.")
    elif made.is_first:
        err.print(FIRST_ONE.format(url=address_of(settings)), markup=False, soft_wrap=True)
        if missing := [word.value for word in Scope if word not in scope]:
            err.print(
                f"This one may not {', '.join(missing)}: make another for who shall, such as "
                f"`sage-sleep tokens create NAME --scope {missing[-1]}`.",
                markup=False,
                soft_wrap=True,
            )


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all tokens, oldest first; none with its secret."""
    from app.services import tokens  # noqa: PLC0415

    with _database() as (_, db):
        rows = tokens.list_tokens(db)
    if as_json:
        print_json([_public(row) for row in rows])
        return
    now = utc_now()
    table = Listing(
        "id", "name", "scopes", "instances", "state", "last used",
        yielding=("name", "scopes", "instances"),
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.id,
            row.name,
            ", ".join(row.scopes),
            "all" if row.instances is None else ", ".join(row.instances),
            _state(row, now),
            row.last_used_at.date().isoformat() if row.last_used_at else "never",
        )
    print_table(table, "No token yet; make one with `sage-sleep tokens create NAME --scope read`.")


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(help="Id of the token, or its beginning.")],
    as_json: Json = False,
) -> None:
    """Take a token back for good; a running daemon refuses it within a second."""
    from app.services import tokens  # noqa: PLC0415

    with _database() as (_, db):
        ids = (row.id for row in tokens.list_tokens(db))
        whole = only_id(ids, token_id, "token", "tokens list")
        row = tokens.revoke_token(db, whole, now=utc_now())
    if as_json:
        print_json(_public(row))
    else:
        out.print(f"Token {row.id} ({row.name}) is revoked.", markup=False)


@contextmanager
def _database() -> Iterator[tuple[Settings, Database]]:
    from app.cli.database import open_database  # noqa: PLC0415

    with explained():
        settings = read_settings()
        with open_database(settings) as db:
            yield settings, db


def _expiry(span: str, now: datetime) -> datetime:
    match = _SPAN.fullmatch(span)
    if match is None:
        fail(f"{span!r} is no span of time; use one such as 90m, 12h, 30d or 8w.")
    return now + timedelta(**{_UNITS[match[2]]: int(match[1])})


def _state(row: TokenRow, now: datetime) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "valid"
    word = "expired" if row.expires_at <= now else "valid until"
    return f"{word} {row.expires_at:%Y-%m-%d %H:%M}"


def _public(row: TokenRow) -> dict[str, Any]:
    instants = ("created_at", "expires_at", "revoked_at", "last_used_at")
    names = ("id", "name", "scopes", "instances", "requests_per_minute", "max_body_bytes")
    return {name: getattr(row, name) for name in names} | {
        name: at.isoformat() if (at := getattr(row, name)) else None for name in instants
    }
