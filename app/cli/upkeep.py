"""Commands that look after the data directory: backup, restore, doctor, prune, pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.terminal import (
    AnyInstance,
    Json,
    Listing,
    explained,
    fail,
    out,
    print_json,
    print_table,
    read_settings,
)
from app.clock import utc_now

if TYPE_CHECKING:
    from app.db.engine import Database
    from app.settings import Settings

app = typer.Typer()

NO_FILE = (
    "The database is no file, so its backups are its server's: pg_dump and pg_restore, or what its "
    "operator has. The checkpoints in SAGE_DATA_DIR are files to copy."
)


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(help="Where to; empty, or not there yet.")],
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Hard-link checkpoints on the same disk. They take no room, and whatever changes "
            "a live file in place changes the backup too.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Back up database and checkpoints, consistently, while the daemon runs or not."""
    from importlib.metadata import version  # noqa: PLC0415

    from app.services import backup as backups  # noqa: PLC0415

    with _database() as (settings, db):
        if db.path is None:
            fail(NO_FILE)
        made = backups.make_backup(
            directory.absolute(),
            database=db.path,
            root=settings.checkpoints_dir,
            links=link,
            version=version("sage-sleep"),
            now=utc_now(),
        )
    if as_json:
        print_json(asdict(made))
    else:
        out.print(
            f"{directory}: the database and {len(made.checkpoints)} checkpoints, "
            f"{made.size_bytes / 1e6:.1f} MB. It holds every text and every token's hash.",
            markup=False,
        )
    if made.left_out:
        fail(f"Left out, since their files are gone or altered: {', '.join(made.left_out)}")


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(help="A backup.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Move what is there aside, within the data directory.")
    ] = False,
) -> None:
    """Put what is whole of a backup in place, the database first; no daemon may run."""
    from app.data_lock import hold  # noqa: PLC0415
    from app.db.engine import SCHEMA_REVISION, Database  # noqa: PLC0415
    from app.services import backup as backups  # noqa: PLC0415

    with explained():
        settings = read_settings()
        database = Database(settings.effective_database_url, settings.instance_defaults()).path
        if database is None:
            fail(NO_FILE)
        with hold(settings.data_dir, database):
            restored = backups.restore(
                directory.absolute(),
                places=backups.DataPlaces(
                    data_dir=settings.data_dir,
                    database=database,
                    checkpoints=settings.checkpoints_dir,
                    snapshots=settings.snapshots_dir,
                    kept=settings.kept_dir,
                ),
                replaces=replace,
                now=utc_now(),
            )
    out.print(
        f"Restored the state of {restored.backup.created_at}: the database and "
        f"{len(restored.checkpoints)} checkpoints. "
        "What was erased, and tokens that were revoked, since then are back.",
        markup=False,
    )
    if restored.aside:
        out.print(f"What was there lies in {restored.aside}.", markup=False, soft_wrap=True)
    if restored.backup.revision != SCHEMA_REVISION:
        out.print("Run `sage-sleep migrate`: the backup is of an older version.", markup=False)
    if restored.backup.left_out:
        names = ", ".join(restored.backup.left_out)
        out.print(f"Not in the backup, being damaged when it was made: {names}.", markup=False)
    if restored.damaged:
        fail(
            "Not restored, since their files in the backup are gone or altered: "
            f"{', '.join(restored.damaged)}. They will be marked as damaged."
        )


@app.command()
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Do what is safe about it; no daemon may run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with settings, database and files; exit code 1 if something is."""
    from app.cli.database import open_database  # noqa: PLC0415
    from app.data_lock import hold, is_held  # noqa: PLC0415
    from app.domain.finding import Severity  # noqa: PLC0415
    from app.services import doctor as doctors  # noqa: PLC0415

    with explained():
        settings = read_settings()
        with open_database(settings, is_migrated=False) as db:
            patient = doctors.Patient(
                data_dir=settings.data_dir,
                db=db,
                checkpoints=settings.checkpoints_dir,
                snapshots=settings.snapshots_dir,
                scratch=settings.scratch_dir,
                has_daemon=not fix and is_held(settings.data_dir, db.path),
            )
            if fix:
                with hold(settings.data_dir, db.path), db.hold_alone():
                    findings = doctors.mend(patient, now=utc_now())
            else:
                findings = doctors.examine(patient, now=utc_now())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = _folding("", "what", "found", "done" if fix else "what to do")
        for finding in findings:
            remedy = finding.fixed or (
                "`sage-sleep doctor --fix`" if finding.is_fixable else finding.remedy
            )
            table.add_row(finding.severity.value, finding.check, finding.text, remedy)
        out.print(table if table.row_count else "Nothing is wrong.")
    if any(item.severity is Severity.ERROR and item.fixed is None for item in findings):
        raise typer.Exit(1)


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    instance: AnyInstance = None,
    clock_is_right: Annotated[
        bool,
        typer.Option("--clock-is-right", help="Believe the clock although it jumped, or leads."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let go what the policy no longer keeps: old texts, progress, checkpoints' files."""
    from app.services import clock_trust, retention  # noqa: PLC0415
    from app.worker.upkeep import DataPaths  # noqa: PLC0415
    from app.worker.upkeep import prune as prune_now  # noqa: PLC0415

    with _database() as (settings, db):
        if clock_is_right and not dry_run:
            clock_trust.confirm(db, now=utc_now())
        doubt = clock_trust.find_doubt(db, now=utc_now()) if dry_run else None
        found = (
            retention.list_prunable(db, instance=instance, now=utc_now())
            if dry_run
            else prune_now(
                db,
                instance=instance,
                paths=DataPaths(
                    checkpoints=settings.checkpoints_dir,
                    kept=settings.kept_dir,
                    snapshots=settings.snapshots_dir,
                    scratch=settings.scratch_dir,
                ),
                should_stop=lambda: False,
            )
        )
    if as_json:
        print_json([asdict(item) for item in found])
        return
    table = Listing(
        "instance", "texts", "reports", "progress", "checkpoints", "MB", yielding=("instance",)
    )
    for item in found:
        if not item.is_empty:
            table.add_row(
                item.instance,
                str(item.texts),
                str(item.reports),
                str(item.progress_events),
                str(len(item.checkpoints)),
                f"{item.size_bytes / 1e6:.1f}",
            )
    print_table(table, "There is nothing to prune.")
    if doubt is not None and not clock_is_right:
        out.print(f"But nothing goes for its age now: {doubt}.", markup=False, soft_wrap=True)


@app.command()
def pair(
    yes: Annotated[
        bool, typer.Option("--yes", help="Pair them; without it, only say what would follow.")
    ] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Give a pair another id: for a copy that goes its own way."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let the database and the data directory of these settings belong together from now on.

    For a database or a directory that took another's place. No daemon may run; exit code 1 where
    they are no pair and `--yes` is missing.
    """
    from app.cli.database import open_database, pair_places  # noqa: PLC0415
    from app.data_lock import hold  # noqa: PLC0415
    from app.services import pairing  # noqa: PLC0415

    with explained():
        settings = read_settings()
        with open_database(settings) as db:
            places = pair_places(settings)
            with hold(settings.data_dir, db.path), db.hold_alone():
                standing = pairing.look(db, places)
                if (anew and standing.is_paired) or (yes and not standing.is_paired):
                    pairing.pair(db, places, now=utc_now())
    is_paired = yes or standing.is_paired
    if as_json:
        found = {name: sorted(getattr(standing, name)) for name in ("present", "absent", "unknown")}
        print_json({"is_paired": is_paired, **found})
    else:
        out.print(f"{settings.shown_database_url} and {settings.data_dir}:", soft_wrap=True)
        for sentence in pairing.describe(standing):
            out.print(f"- {sentence}", markup=False, soft_wrap=True)
        if is_paired:
            out.print("They are a pair.")
        else:
            out.print("They are no pair; with --yes they become one.")
    if not is_paired:
        raise typer.Exit(1)


@contextmanager
def _database() -> Iterator[tuple[Settings, Database]]:
    from app.cli.database import open_pair  # noqa: PLC0415

    with explained():
        settings = read_settings()
        with open_pair(settings) as db:
            yield settings, db


def _folding(*names: str) -> Table:
    """A table of sentences: what is too wide for a line goes on in the next."""
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    return table
