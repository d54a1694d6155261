"""Commands that bring experiences in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from app.cli.terminal import Instance, Json, err, explained, fail, out, print_json, read_settings
from app.clock import utc_now

app = typer.Typer()


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="An older experience_buffer.json.")],
    instance: Instance = "default",
    timezone: Annotated[
        str, typer.Option(help="Zone that the file's naive times are local to.")
    ] = "UTC",
    create: Annotated[bool, typer.Option(help="Create the instance if it is not there.")] = False,
    as_json: Json = False,
) -> None:
    """Import an older buffer file; the same file twice changes nothing."""
    from app.cli.database import open_database  # noqa: PLC0415
    from app.services.instances import (  # noqa: PLC0415
        get_instance,
        list_instances,
        put_instance,
    )
    from app.services.legacy_import import import_buffer  # noqa: PLC0415

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        fail(f"Unknown time zone {timezone!r}; use one such as Europe/Lisbon.")
    with explained(), open_database(read_settings()) as db:
        if create and not list_instances(db, within=[instance]):
            put_instance(db, instance, {}, now=utc_now())
        get_instance(db, instance)
        report = import_buffer(db, file, instance=instance, zone=zone, now=utc_now())
    if as_json:
        print_json(
            {
                "inserted": report.inserted,
                "duplicate": report.duplicate,
                "by_status": report.by_status,
                "broken": [
                    {"index": b.index, "pointer": b.pointer, "problem": b.problem}
                    for b in report.broken
                ],
            }
        )
        return
    statuses = ", ".join(f"{count} {status}" for status, count in report.by_status.items())
    out.print(f"{report.inserted} inserted ({statuses or 'none'}), {report.duplicate} known.")
    for broken in report.broken:
        err.print(
            f"record {broken.index}{broken.pointer}: {broken.problem}", style="yellow", markup=False
        )
    if report.broken and not report.inserted and not report.duplicate:
        fail("Nothing went in.")
