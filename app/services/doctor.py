"""What is wrong with a data directory, and mending it; long, for it is many short looks.

Nothing is deleted that is not a leftover, no text and no checkpoint is touched, and an alias moves
only away from files that are gone. Each look is a generator, so that the next still happens when
one has found much. Must not know HTTP or settings.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from app.artifacts import directories, leftovers
from app.db import checkpoints, health, instances, sleep_cycles, statuses
from app.db.copies import list_copies
from app.db.engine import Database
from app.db.tables import CheckpointRow
from app.domain.checkpoint import MANIFEST_FILE, CheckpointStatus
from app.domain.experience import ExperienceStatus
from app.domain.finding import Finding, Severity
from app.errors import (
    ArtifactError,
    CheckpointFilesUnreadable,
    CheckpointsNotThere,
    DatabaseNotMigrated,
    DatabaseUnavailable,
    PairMismatched,
)
from app.services import clock_trust, cycle_end, damage, pairing, sweeping
from app.services.file_guard import FileGuard
from app.services.instances import effective, find_unusable

LOW_DISK_BYTES = 1 << 30
"""A guess: some forty checkpoints of the embedded model."""

FETCH = "run `sage-sleep model fetch`, or set SAGE_BASE_MODEL"

Fix = Callable[[], str]
_Found = tuple[Finding, Fix | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """What is looked at.

    Attributes:
        has_daemon: A daemon runs on it, so what a daemon does at its start is no leftover.
    """

    data_dir: Path
    db: Database
    checkpoints: Path
    snapshots: Path
    scratch: Path
    has_daemon: bool


def examine(patient: Patient, *, now: datetime) -> list[Finding]:
    """Look at everything and change nothing."""
    return [finding for finding, _ in _look(patient, now=now)]


def mend(patient: Patient, *, now: datetime) -> list[Finding]:
    """Look at everything, and do what is safe about each finding; what was done stands in it.

    Only while no daemon runs.
    """
    return [
        finding if fix is None else replace(finding, fixed=fix())
        for finding, fix in _look(patient, now=now)
    ]


def _look(patient: Patient, *, now: datetime) -> Iterator[_Found]:
    yield from _look_at_directory(patient)
    yield from _look_at_base_model(patient)
    is_usable = True
    for found in _look_at_database(patient):
        is_usable = is_usable and (found[0].severity is not Severity.ERROR or bool(found[1]))
        yield found
    if not is_usable:
        return
    yield from _look_at_clock(patient, now=now)
    yield from _look_at_states(patient, now=now)
    yield from _look_at_set_aside(patient)
    # What another database calls its own is neither damage nor left over here.
    is_pair = True
    for found in _look_at_pair(patient):
        is_pair = False
        yield found
    if is_pair:
        yield from _look_at_orphans(patient)
        yield from _look_at_checkpoints(patient, now=now)
        yield from _look_at_leftovers(patient)


def _look_at_directory(patient: Patient) -> Iterator[_Found]:
    directory = patient.data_dir
    if not directory.is_dir():
        yield _error("directory", f"{directory} is not there", "run `sage-sleep migrate`"), None
        return
    is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    if is_read_only or not os.access(directory, os.W_OK | os.X_OK):
        yield (
            _error(
                "directory", f"{directory} cannot be written to", "make it writable, or remount"
            ),
            None,
        )
    mode = directory.stat().st_mode
    if mode & 0o007 and not is_read_only:
        text = "others on this machine may look into the data directory, where conversations are"
        yield (
            _warning("directory", text, f"chmod o-rwx {directory}", is_fixable=True),
            lambda: _close_to_others(directory),
        )
    elif mode & 0o070 and not is_read_only:
        text = f"the group {_group_of(directory)} may look into the data directory"
        yield _notice("directory", text, f"nothing, if it may; or chmod g-rwx {directory}"), None
    database = patient.db.path
    is_elsewhere = database is not None and directory not in database.parents
    if database is not None and is_elsewhere and _is_open_to_others(database):
        text = f"others on this machine may read {database}, where conversations are"
        yield (
            _warning("database", text, f"chmod o-rwx {database}", is_fixable=True),
            lambda: _close_to_others(database),
        )
    free = shutil.disk_usage(directory).free
    if free < LOW_DISK_BYTES:
        yield (
            _warning(
                "disk",
                f"{free / 1e6:.0f} MB are free",
                "free some, or lower SAGE_RETAIN_CHECKPOINTS and run `sage-sleep prune`",
            ),
            None,
        )


def _look_at_base_model(patient: Patient) -> Iterator[_Found]:
    defaults = patient.db.defaults
    if defaults.find_base_fault(defaults.base_model) is not None:
        text = f"{defaults.base_model} is not on this machine: nothing can sleep"
        yield _warning("base_model", text, FETCH), None


def _look_at_database(patient: Patient) -> Iterator[_Found]:
    db = patient.db
    from_backup = "restore a backup (`sage-sleep restore --replace`)"
    if db.path is not None and (copies := list_copies(db.path)):
        from_backup += f", or take {copies[-1].name}, which a migration left"
    try:
        db.check_migrated()
        with db.read() as session:
            damages = health.find_damage(session)
            broken = health.find_broken_references(session)
            fault = health.find_fault(session)
    except DatabaseNotMigrated as error:
        yield _error("database", error.message, "run `sage-sleep migrate`"), None
        return
    except DatabaseUnavailable as error:
        yield _error("database", error.message, from_backup), None
        return
    if damages:
        db.note_damage()
    elif db.damage_mark.is_set:
        text = "damage was seen and nothing is stored since, and the file is whole now"
        yield (
            _error("database", text, "run `sage-sleep doctor --fix`", is_fixable=True),
            lambda: _trust_again(db),
        )
    for text in damages:
        yield _error("database", text, from_backup), None
    for text in broken:
        yield _error("references", text, from_backup), None
    if fault is not None:
        remedy = "start the daemon" if db.path is not None else "set it in the server's settings"
        yield _warning("database", fault, remedy), None


def _trust_again(db: Database) -> str:
    db.damage_mark.clear()
    return "exchanges are stored again"


def _look_at_clock(patient: Patient, *, now: datetime) -> Iterator[_Found]:
    if (doubt := clock_trust.find_doubt(patient.db, now=now)) is not None:
        text = f"{doubt}; until then nothing is removed for its age"
        remedy = "set the clock; if it is right, run `sage-sleep prune --clock-is-right`"
        yield _warning("clock", text, remedy), None


def _look_at_states(patient: Patient, *, now: datetime) -> Iterator[_Found]:
    db = patient.db
    with db.read() as session:
        running = [cycle.id for cycle in sleep_cycles.list_running(session)]
        unowned = health.count_unowned_claims(session)
        unclaimed = health.count_unclaimed_plans(session)
        misplaced = health.list_misplaced_aliases(session)
        wrong_totals = health.list_wrong_totals(session)
        found = [effective(session, row) for row in instances.list_instances(session)]
    for one in found:
        if one.base_unnamed is not None:
            text = f"{one.row.slug} trains nothing: nobody named the base of its model"
            remedy = f"run `sage-sleep model use {one.row.slug} BASE`"
            yield _warning("base_model", text, remedy), None
    named = {one.base_model for one in found if one.base_unnamed is None}
    own = named - {db.defaults.base_model}
    for base_model in sorted(filter(db.defaults.find_base_fault, own)):
        slugs = ", ".join(one.row.slug for one in found if one.base_model == base_model)
        text = f"{base_model}, the base of {slugs}, is not on this machine"
        yield _warning("base_model", text, f"run `sage-sleep model fetch {base_model}`"), None
    for unusable in filter(None, map(find_unusable, found)):
        yield _warning("settings", unusable.message, "put its settings anew"), None
    if running and not patient.has_daemon:
        text = f"{len(running)} sleep cycles are marked as running, and no daemon is"
        yield (
            _warning("sleep_cycles", text, "start the daemon", is_fixable=True),
            lambda: _settle(patient, now=now),
        )
    if unowned:
        text = f"{unowned} experiences are claimed, and by no cycle that is queued or running"
        yield (
            _error("experiences", text, "run `sage-sleep doctor --fix`", is_fixable=True),
            lambda: _release(patient),
        )
    if unclaimed:
        text = f"{unclaimed} experiences that a cycle is to train on are not claimed by it"
        yield _error("experiences", text, "cancel the cycle"), None
    for row in misplaced:
        text = f"an alias names {row.name}, which is {row.status}"
        yield (
            _error("aliases", text, "run `sage-sleep doctor --fix`", is_fixable=True),
            _fix_alias(patient, row, now=now),
        )
    if wrong_totals:
        text = f"the running totals of {len(wrong_totals)} statuses are not what adds up"
        yield (
            _error("totals", text, "run `sage-sleep doctor --fix`", is_fixable=True),
            lambda: _count_again(patient),
        )


def _look_at_set_aside(patient: Patient) -> Iterator[_Found]:
    with patient.db.read() as session:
        rows = instances.list_instances(session)
        totals = instances.totals_by_status(session, [row.id for row in rows])
        found = [(row.slug, totals[row.id].get(ExperienceStatus.SET_ASIDE)) for row in rows]
    for slug, aside in found:
        if aside is not None and aside.count:
            yield (
                _notice(
                    "experiences",
                    f"{aside.count} experiences of {slug} could not be put before its model, and "
                    "are set aside, each with its reason",
                    "nothing; another base model, system prompt or max_length gives them back",
                ),
                None,
            )


def _look_at_pair(patient: Patient) -> Iterator[_Found]:
    places = pairing.PairPlaces(
        data_dir=patient.data_dir,
        checkpoints=patient.checkpoints,
        snapshots=patient.snapshots,
    )
    try:
        pairing.require_pair(patient.db, places)
    except PairMismatched as error:
        remedy = "set SAGE_DATABASE_URL and SAGE_DATA_DIR to two that belong together"
        yield _error("pair", error.message, remedy), None
    except CheckpointsNotThere as error:
        yield _error("pair", error.message, "mount it, or put it back"), None


def _look_at_orphans(patient: Patient) -> Iterator[_Found]:
    root = patient.checkpoints
    held = leftovers.list_aside(root)
    with patient.db.read() as session:
        known = checkpoints.list_names(session)
    named = sorted(name for name in known if leftovers.find_aside(root, name) in held)
    if named:
        text = f"{len(named)} checkpoints that have a row were set aside: {', '.join(named[:3])}"

        def bring_back() -> str:
            back = leftovers.bring_back(root, named)
            return f"{len(back)} put back"

        yield _error("orphans", text, "start the daemon", is_fixable=True), bring_back
    if len(held) > len(named):
        text = (
            f"{len(held) - len(named)} directories that no row of this database names were set "
            f"aside in {root / leftovers.ORPHANS_DIRECTORY}"
        )
        remedy = (
            "nothing: with the database that names them they go back by themselves; without one "
            "they may go, once you looked at their manifest.json"
        )
        yield _notice("orphans", text, remedy), None


def _look_at_checkpoints(patient: Patient, *, now: datetime) -> Iterator[_Found]:
    with patient.db.read() as session:
        rows = checkpoints.list_undeleted(session)
    for row in rows:
        try:
            directories.verify(patient.checkpoints, row.name, row.files)
        except CheckpointFilesUnreadable as error:
            remedy = "owner and mode of the file, and the disk that it lies on"
            yield _warning("checkpoints", error.message, remedy), None
            continue
        except ArtifactError as error:
            if leftovers.find_aside(patient.checkpoints, row.name) is not None:
                continue  # it was said where it is
            if row.status == CheckpointStatus.DAMAGED:
                remedy = "restore its files from a backup; aliases have left it"
                yield _warning("checkpoints", error.message, remedy), None
                continue
            yield (
                _error("checkpoints", error.message, "start the daemon", is_fixable=True),
                _fix_files(patient, row, "marked as damaged; its aliases fell back", now=now),
            )
            continue
        if row.status == CheckpointStatus.DAMAGED:
            text = f"{row.name} is marked as damaged, and its files are whole"
            yield (
                _warning("checkpoints", text, "start the daemon", is_fixable=True),
                _fix_files(patient, row, "marked as ready", now=now),
            )
        if problem := _find_contradiction(patient.checkpoints, row):
            yield _error("manifests", problem, "restore it from a backup"), None


def _look_at_leftovers(patient: Patient) -> Iterator[_Found]:
    if patient.has_daemon:  # what looks left over may be under way
        return
    places = {
        "root": patient.checkpoints,
        "snapshots": patient.snapshots,
        "scratch": patient.scratch,
    }

    def sweep() -> str:
        swept = sweeping.sweep_leftovers(patient.db, **places)
        return f"{len(swept)} deleted, or set aside in {leftovers.ORPHANS_DIRECTORY}"

    if found := sweeping.find_leftovers(patient.db, **places):
        text = f"{len(found)} leftovers: {', '.join(found[:5])}"
        yield _warning("leftovers", text, "start the daemon", is_fixable=True), sweep


def _find_contradiction(root: Path, row: CheckpointRow) -> str | None:
    """What a manifest, which is whole, says otherwise than the registry; None for nothing."""
    try:
        manifest = json.loads((root / row.name / MANIFEST_FILE).read_text(encoding="utf-8"))
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"the manifest of {row.name} cannot be read"
    if manifest.get("id", row.id) != row.id:
        return f"the manifest of {row.name} is that of {manifest['id']}"
    listed = {
        file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in row.files
    }
    if any(listed.get(name) != said for name, said in files.items()):
        return f"the manifest of {row.name} lists other files than the registry"
    return None


def _close_to_others(path: Path) -> str:
    path.chmod(path.stat().st_mode & 0o7770)
    return "closed to others"


def _is_open_to_others(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o007)


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except KeyError:  # a group without a name
        return str(path.stat().st_gid)


def _settle(patient: Patient, *, now: datetime) -> str:
    count = cycle_end.settle_all_running(patient.db, now=now)
    return f"{count} put back into the queue, cancelled or failed"


def _release(patient: Patient) -> str:
    with patient.db.write() as session:
        count = health.release_unowned_claims(session)
        for row in instances.list_instances(session):
            policy = effective(session, row).policy
            statuses.regrade(session, row.id, policy.min_salience)
    return f"{count} put back into the buffer"


def _count_again(patient: Patient) -> str:
    with patient.db.write() as session:
        health.count_totals_again(session)
    return "counted again"


def _fix_alias(patient: Patient, row: CheckpointRow, *, now: datetime) -> Fix:
    def fix() -> str:
        with patient.db.write() as session:
            again = checkpoints.get_checkpoint(session, row.id)
            reason = f"{row.name} is {row.status}"
            damage.fall_back_within(session, again, reason, now=now)
        return "fell back to the last good one"

    return fix


def _fix_files(patient: Patient, row: CheckpointRow, done: str, *, now: datetime) -> Fix:
    def fix() -> str:
        guard = FileGuard(patient.db, root=patient.checkpoints)
        guard.hash_one(row.id, now=now)
        return done

    return fix


def _error(check: str, text: str, remedy: str, *, is_fixable: bool = False) -> Finding:
    return Finding(
        severity=Severity.ERROR, check=check, text=text, remedy=remedy, is_fixable=is_fixable
    )


def _warning(check: str, text: str, remedy: str, *, is_fixable: bool = False) -> Finding:
    return Finding(
        severity=Severity.WARNING, check=check, text=text, remedy=remedy, is_fixable=is_fixable
    )


def _notice(check: str, text: str, remedy: str) -> Finding:
    return Finding(severity=Severity.NOTICE, check=check, text=text, remedy=remedy)
