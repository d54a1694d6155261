"""Commands that bring experiences in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
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
    from app.db.engine import Database  # noqa: PLC0415
    from app.services.instances import get_instance, put_instance  # noqa: PLC0415
    from app.services.legacy_import import import_buffer  # noqa: PLC0415

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        fail(f"Unknown time zone {timezone!r}; use one such as Europe/Lisbon.")
    with explained():
        settings = read_settings()
        defaults = settings.instance_defaults()
        db = Database(settings.effective_database_url)
        try:
            db.check_migrated()
            if create and instance not in _known_slugs(db, defaults):
                put_instance(db, instance, {}, defaults=defaults, now=utc_now())
            get_instance(db, instance, defaults)
            report = import_buffer(
                db, file, instance=instance, zone=zone, defaults=defaults, now=utc_now()
            )
        finally:
            db.close()
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


def _known_slugs(db: Any, defaults: Any) -> set[str]:
    from app.services.instances import list_instances  # noqa: PLC0415

    return {instance.row.slug for instance in list_instances(db, defaults)}
