"""Commands that bring experiences in."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from app.cli.terminal import Instance, Json, err, explained, fail, out, print_json, read_settings
from app.clock import utc_now
from app.imports.formats import READERS, Format
from app.imports.reading import Wanted
from app.imports.sources import settled

if TYPE_CHECKING:
    from app.services.importing import ImportReport

app = typer.Typer()

SHOWN_BROKEN = 50
_FORMATS = "; ".join(f"{name}: {reader.words}" for name, reader in READERS.items())


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files of exchanges, conversations or session transcripts.")
    ],
    instance: Instance = "default",
    timezone: Annotated[
        str | None,
        typer.Option(help="Zone that times without one are local to; UTC where it is not given."),
    ] = None,
    create: Annotated[bool, typer.Option(help="Create the instance if it is not there.")] = False,
    model_name: Annotated[
        str | None, typer.Option(help="What the runtime of a created instance calls its model.")
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help=f"Of every record, where it is not seen. {_FORMATS}."),
    ] = None,
    assistant: Annotated[
        list[str] | None,
        typer.Option(help="Who the model is in a transcript, if not SAGE, assistant or the like."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Show what would go in, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import what other tools, older scripts and the export wrote; twice is once."""
    from app.services.importing import ImportReport, look_into_file  # noqa: PLC0415

    wanted = Wanted(zone=_zone(timezone), format=format_, models=tuple(assistant or ()))
    report = ImportReport()
    with explained(), ExitStack() as copies:
        paths = [copies.enter_context(settled(path)) for path in files]
        for path in paths:
            look_into_file(path, wanted, report)
        if not dry_run:
            made = {"model_name": model_name} if create else None
            _put(paths, wanted, report, instance, made=made)
    if timezone is None and report.naive_times:
        _say_utc(report.naive_times)
    if as_json:
        print_json(_as_json(report, str(wanted.zone), dry_run=dry_run))
        return
    _print(report, dry_run=dry_run)
    went_in = report.found if dry_run else report.inserted or report.duplicate
    if report.broken_count and not went_in:
        fail("Nothing went in.")


def _put(
    paths: list[Path],
    wanted: Wanted,
    report: ImportReport,
    instance: str,
    *,
    made: dict[str, Any] | None,
) -> None:
    """Put files in; `made` is what an instance gets that is not there, None for an error."""
    from app.cli.database import open_database  # noqa: PLC0415
    from app.services.importing import import_file  # noqa: PLC0415
    from app.services.instances import (  # noqa: PLC0415
        get_instance,
        list_instances,
        put_instance,
    )

    now = utc_now()
    with open_database(read_settings()) as db:
        if made is not None and not list_instances(db, within=[instance]):
            put_instance(db, instance, made, now=now)
        get_instance(db, instance)
        for path in paths:
            import_file(db, path, wanted, report, instance=instance, now=now)


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(f"Unknown time zone {name!r}; use one such as Europe/Lisbon.")


def _say_utc(count: int) -> None:
    what = "1 time has no zone and was" if count == 1 else f"{count} times have no zone and were"
    err.print(
        f"{what} taken as UTC. If the clock was a local one, import with --timezone, such as "
        "--timezone Europe/Lisbon; what went in keeps its time.",
        style="bold yellow",
        soft_wrap=True,
    )


def _print(report: ImportReport, *, dry_run: bool) -> None:
    if dry_run:
        formats = ", ".join(f"{count} {name}" for name, count in report.by_format.items())
        out.print(
            f"{report.found} exchanges would go in ({formats or 'none'}), unless they are known; "
            f"{report.broken_count} cannot be read. Nothing was changed.",
            soft_wrap=True,
        )
    else:
        statuses = ", ".join(f"{count} {status}" for status, count in report.by_status.items())
        out.print(
            f"{report.inserted} inserted ({statuses or 'none'}), {report.duplicate} known, "
            f"{report.broken_count} left out.",
            soft_wrap=True,
        )
    for broken in report.broken[:SHOWN_BROKEN]:
        err.print(
            f"{broken.file} {broken.place}{broken.pointer}: {broken.problem}",
            style="yellow",
            soft_wrap=True,
        )
    if (more := report.broken_count - SHOWN_BROKEN) > 0:
        err.print(f"and {more} more; --json names the first of them.", style="yellow")


def _as_json(report: ImportReport, zone: str, *, dry_run: bool) -> dict[str, Any]:
    broken = [
        {"file": b.file, **asdict(b.place), "pointer": b.pointer, "problem": b.problem}
        for b in report.broken
    ]
    return {**asdict(report), "broken": broken, "timezone": zone, "dry_run": dry_run}
