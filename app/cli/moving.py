"""The command that moves to another database: from SQLite to PostgreSQL, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import (
    Json,
    Listing,
    explained,
    fail,
    out,
    print_json,
    print_table,
    read_settings,
)

if TYPE_CHECKING:
    from app.db.engine import Database
    from app.settings import Settings

app = typer.Typer()


@app.command("move-database")
def move_database(
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The database: its URL, or a SQLite file's path.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="Likewise an empty one; a file may be absent.")
    ],
    as_json: Json = False,
) -> None:
    """Copy a database into an empty one, from SQLite to PostgreSQL or back; no daemon may run.

    All of it is copied and compared in one transaction, or nothing is. FROM stays as it was.
    """
    from app.cli.database import upgrade_schema  # noqa: PLC0415
    from app.services.moving import move  # noqa: PLC0415

    with explained():
        settings = read_settings()
        of_source, of_target = (
            settings.model_copy(update={"database_url": _url_of(text)}) for text in (source, target)
        )
        if of_source.database_url == of_target.database_url:
            fail("FROM and TO are the same database.")
        with _held(of_source) as read:
            read.check_migrated()
            with _held(of_target) as written:
                if written.find_revision() is None:
                    upgrade_schema(written)
                written.check_migrated()
                copied = move(read, written)
    if as_json:
        print_json(
            {
                "source": of_source.shown_database_url,
                "target": of_target.shown_database_url,
                "tables": [asdict(table) for table in copied],
            }
        )
        return
    listing = Listing("table", "rows", "SHA-256 of the rows, in both")
    for table in copied:
        listing.add_row(table.name, str(table.rows), table.sha256)
    print_table(listing, "")
    if altered := sum(table.altered_texts for table in copied):
        out.print(f"Texts that held U+0000, for which U+FFFD stands now: {altered}.")
    out.print(
        f"{of_target.shown_database_url} holds what {of_source.shown_database_url} does. "
        "Set SAGE_DATABASE_URL to it and start the daemon, with the same SAGE_DATA_DIR. "
        "What you erase from then on is not erased in the old one: delete it when you trust the "
        "new one.",
        soft_wrap=True,
    )


def _url_of(text: str) -> str:
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"


@contextmanager
def _held(settings: Settings) -> Iterator[Database]:
    """The settings' database, held as a daemon holds it, whatever its data directory is."""
    from contextlib import ExitStack  # noqa: PLC0415

    from app.cli.database import open_database  # noqa: PLC0415
    from app.data_lock import hold_database  # noqa: PLC0415

    with ExitStack() as held:
        db = held.enter_context(open_database(settings, is_migrated=False))
        if db.path is not None:
            held.enter_context(hold_database(db.path))
        held.enter_context(db.hold_alone())
        yield db
