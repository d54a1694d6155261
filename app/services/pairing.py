"""Whether a database and a data directory belong together, looked at before anything is touched.

With another database every checkpoint of a directory looks like a leftover; with another directory
every checkpoint of a database looks damaged, and its aliases fall back to the base. So each start
looks at an id that stands in the database, in the directory and among the checkpoints, and a pair
that does not match is refused. Two that never met become a pair where nothing speaks against it:
the database's checkpoints are there, or neither holds any.

To pair is: the database forgets its id, the directories are marked, the database takes the new id.
Whatever it is killed between, the next start finds a database without an id, and the same evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.artifacts import leftovers, pair_marks
from app.clock import new_id
from app.db import checkpoints, pairing
from app.db.engine import Database
from app.errors import CheckpointsNotThere, PairMismatched
from app.log import get_logger

PAIR_COMMAND = "`sage-sleep pair`"
SHOWN_NAMES = 3

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairPlaces:
    """Where a data directory keeps what a database may know, or not."""

    data_dir: Path
    checkpoints: Path
    snapshots: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a database and a directory say of each other.

    Attributes:
        pair_id: The database's.
        directory_id, checkpoints_id: The directory's, and that of the checkpoints in it.
        present: Names of the database's checkpoints that have a directory, set aside or not.
        absent: Names of those that have none.
        unknown: Names of checkpoints' directories that the database never knew.
        is_inside: The database lies in the directory itself.
        has_snapshots: A training may go on from what lies in the directory.
    """

    pair_id: str | None
    directory_id: str | None
    checkpoints_id: str | None
    present: frozenset[str]
    absent: frozenset[str]
    unknown: frozenset[str]
    is_inside: bool
    has_snapshots: bool

    @property
    def is_paired(self) -> bool:
        """Whether the same id stands everywhere."""
        return self.pair_id is not None and {self.directory_id, self.checkpoints_id} == {
            self.pair_id
        }


def look(db: Database, places: PairPlaces) -> Standing:
    """Look at both, and change nothing. Raises: CheckpointsNotThere, DatabaseUnavailable."""
    with db.read() as session:
        pair_id = pairing.find_pair_id(session)
        known = checkpoints.list_names(session)
        deleted = checkpoints.list_deleted_names(session)
    root = places.checkpoints
    try:
        found = leftovers.list_published(root)
        aside = {name for name in known if leftovers.find_aside(root, name) is not None}
        has_snapshots = places.snapshots.is_dir() and any(places.snapshots.iterdir())
    except OSError as error:
        raise CheckpointsNotThere(f"{root} cannot be looked at: {error.strerror}.") from error
    present = known & (found | aside)
    return Standing(
        pair_id=pair_id,
        directory_id=pair_marks.read_directory_mark(places.data_dir),
        checkpoints_id=pair_marks.read_checkpoints_mark(root),
        present=present,
        absent=known - present,
        unknown=found - known - deleted,
        is_inside=db.path is not None and db.path.resolve().parent == places.data_dir.resolve(),
        has_snapshots=has_snapshots,
    )


def require_pair(db: Database, places: PairPlaces) -> bool:
    """Raise unless the two belong together; returns whether they are still to be paired.

    Raises: PairMismatched, CheckpointsNotThere, DatabaseUnavailable.
    """
    standing = look(db, places)
    if standing.is_paired:
        return False
    if standing.absent and not standing.present:
        _demand_checkpoints(standing, places)
    if reason := _find_contradiction(standing, places):
        raise PairMismatched(
            f"{reason} Nothing was changed. Set SAGE_DATABASE_URL and SAGE_DATA_DIR to two that "
            f"belong together; {PAIR_COMMAND} says what would become of these two, and pairs them."
        )
    return True


def settle_pair(db: Database, places: PairPlaces, *, now: datetime) -> None:
    """As `require_pair`, and pair the two where nothing speaks against it.

    Raises: as `require_pair`, DiskFull, DirectoryReadOnly.
    """
    if require_pair(db, places) and not db.damage_mark.is_set:
        pair_id = pair(db, places, now=now)
        _log.info("daemon.paired", pair_id=pair_id)


def pair(db: Database, places: PairPlaces, *, now: datetime) -> str:
    """Let the two belong together from now on, whatever they said before; returns the new id.

    Raises: CheckpointsNotThere, DatabaseUnavailable, DiskFull, DirectoryReadOnly.
    """
    pair_id = new_id()
    with db.write() as session:
        pairing.forget_pair(session)
    pair_marks.write_marks(places.data_dir, places.checkpoints, pair_id)
    with db.write() as session:
        pairing.insert_pair(session, pair_id, now=now)
    return pair_id


def describe(standing: Standing) -> list[str]:
    """What a start on the two, once they are a pair, finds and does."""
    sentences = [f"{len(standing.present)} checkpoints have their directory and their row."]
    if standing.absent:
        sentences.append(
            f"{len(standing.absent)} checkpoints of the database have no directory "
            f"({_some(standing.absent)}): they are marked as damaged, and aliases fall back."
        )
    if standing.unknown:
        sentences.append(
            f"{len(standing.unknown)} directories have no row ({_some(standing.unknown)}): they "
            "are set aside, and come back with the database that names them."
        )
    return sentences


def _some(names: frozenset[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown}, ..."


def _demand_checkpoints(standing: Standing, places: PairPlaces) -> None:
    """None of the checkpoints is there: their disk, or their directory, is not."""
    if standing.unknown or standing.checkpoints_id not in {None, standing.pair_id}:
        return  # somebody else's are there, and that is said instead
    root = places.checkpoints
    raise CheckpointsNotThere(
        f"{root} holds none of the {len(standing.absent)} checkpoints that the database names: it "
        "is not mounted, or SAGE_DATA_DIR is another directory. Nothing was changed, and none is "
        f"called damaged. Mount it, or put it back; if they are lost for good, {PAIR_COMMAND} says "
        "what becomes of them."
    )


def _find_contradiction(standing: Standing, places: PairPlaces) -> str | None:
    """Why two that are no pair yet must not become one by themselves; None where they may."""
    ids = {standing.directory_id, standing.checkpoints_id} - {None}
    is_bare = not (standing.present or standing.absent or standing.unknown)
    is_known = bool(standing.present)
    if standing.pair_id is None:
        may = is_known or (is_bare and not (ids and standing.has_snapshots))
        is_another = bool(ids)
    else:
        is_another = bool(ids - {standing.pair_id})
        met = bool(ids) or standing.is_inside
        may = not is_another and (is_known or (is_bare and met))
    if may:
        return None
    if is_another:
        return f"{places.data_dir} belongs to another database than this one."
    if standing.unknown:
        return (
            f"{places.checkpoints} holds {len(standing.unknown)} checkpoints that the database has "
            "never known."
        )
    return f"The database belongs to another data directory than {places.data_dir}."
