"""What must hold after every kill, read from the files themselves: the database and checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.artifacts import directories
from app.domain.checkpoint import CheckpointFile
from app.domain.worker_end import DISK_FULL_EXIT
from app.errors import ArtifactError

MAX_ATTEMPTS = 3

SAID_IN_LOG = {
    "old texts kept from a clock in doubt": "upkeep.clock_doubted",
    "training ended by a full disk": f'"exit_code": {DISK_FULL_EXIT}',
    "training ended in a write": "worker.write_held",
}
"""What shows that a fault was felt, as the daemon logs it."""


@dataclass
class Broken:
    """What did not hold, by promise; all empty is well."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    consumed_twice: list[str] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    half_checkpoints: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    database: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        """Whether anything is."""
        return any(vars(self).values())


def published_names(root: Path) -> set[str]:
    """Names of all directories under a final name."""
    return {
        f"{path.parent.name}/{path.name}"
        for path in root.glob("*/*")
        if path.is_dir() and not path.parent.name.startswith(".")
    }


def check(
    data_dir: Path,
    acknowledged: Mapping[str, str],
    *,
    published_before: Collection[str] = (),
    is_thorough: bool = False,
) -> Broken:
    """Check all promises.

    Args:
        acknowledged: Response by source id, as the client was told that they are stored.
        published_before: Directories that stood under a final name while no daemon ran; the start
            since then has registered them or set them aside.
        is_thorough: Also what takes seconds: the database's own checks.
    """
    broken = Broken()
    root = data_dir / "checkpoints"
    # Nothing here is another database's, so what has no row is deleted, and never set aside.
    broken.left_behind += [str(path) for path in (root / ".orphans").glob("*")]
    with _opened(data_dir) as db:
        db.execute("BEGIN")  # one state of everything
        _check_acknowledged(db, acknowledged, broken)
        _check_consumption(db, broken)
        _check_checkpoints(db, root, published_before, broken)
        _check_aliases(db, broken)
        if is_thorough:
            broken.database += [row[0] for row in db.execute("PRAGMA integrity_check")]
            broken.database = [found for found in broken.database if found != "ok"]
            broken.database += [str(row) for row in db.execute("PRAGMA foreign_key_check")]
    return broken


def list_unregistered(data_dir: Path) -> set[str]:
    """Names of published directories that no row knows."""
    names = published_names(data_dir / "checkpoints")
    with _opened(data_dir) as db:
        return names - {row[0] for row in db.execute("SELECT name FROM checkpoints")}


def list_left_behind(data_dir: Path, scratch: Path) -> list[str]:
    """What lies about although no daemon runs and the last one ended by itself.

    Args:
        scratch: Where the daemon and its children had their temporary files.
    """
    active = active_cycles(data_dir)
    left = [
        *sorted(list_unregistered(data_dir)),
        *(data_dir / "checkpoints").glob(".*/*"),
        *(
            path
            for path in (data_dir / "snapshots").glob("*")
            if not any(cycle_id in path.name for cycle_id in active)
        ),
        *data_dir.glob("*filler*"),
        *scratch.iterdir(),
    ]
    return [str(path) for path in left]


def is_clock_seen_ahead(data_dir: Path) -> bool:
    """Whether upkeep last looked at a clock that is ahead of the machine's."""
    with _opened(data_dir) as db:
        seen_at = db.execute("SELECT max(seen_at) FROM clock").fetchone()[0]
    is_ahead: bool = seen_at is not None and datetime.fromisoformat(seen_at) > datetime.now(UTC)
    return is_ahead


def count_ends(data_dir: Path) -> Counter[str]:
    """How often a training process, or what it ran, ended of what."""
    counted = """SELECT 'failed of ' || json_extract(error, '$.code'), count(*)
        FROM sleep_cycles WHERE error IS NOT NULL GROUP BY 1
        UNION ALL SELECT type, count(*) FROM events WHERE type IN
        ('sleep_cycle.worker_stalled', 'sleep_cycle.worker_killed', 'sleep_cycle.worker_died',
         'sleep_cycle.disk_full') GROUP BY 1"""
    with _opened(data_dir) as db:
        return Counter(dict(db.execute(counted).fetchall()))


def count_said(log_path: Path) -> Counter[str]:
    """How often the daemon's log shows what."""
    log = log_path.read_text()
    return Counter({said: log.count(event) for said, event in SAID_IN_LOG.items() if event in log})


def _opened(data_dir: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{data_dir / 'sage-sleep.db'}?mode=ro", uri=True))


def _check_acknowledged(
    db: sqlite3.Connection, acknowledged: Mapping[str, str], broken: Broken
) -> None:
    rows = db.execute("SELECT source_id, response FROM experiences").fetchall()
    stored = dict(rows)
    counts = Counter(source_id for source_id, _ in rows)
    broken.doubled += [source_id for source_id, count in counts.items() if count > 1]
    broken.lost += [
        source_id for source_id, text in acknowledged.items() if stored.get(source_id) != text
    ]


def _check_consumption(db: sqlite3.Connection, broken: Broken) -> None:
    """Every experience was consumed by one succeeded cycle, or waits, or was given up on.

    A candidate that another took the place of, or that a person dismissed, never went live; what it
    consumed was given back.
    """
    consumers: Counter[int] = Counter()
    claimers: Counter[int] = Counter()
    uses = """SELECT u.experience_seq, c.status FROM cycle_experiences u
        JOIN sleep_cycles c ON c.id = u.cycle_id
        WHERE u.role = 'train' AND c.status IN ('succeeded', 'queued', 'training', 'evaluating')
        AND c.id NOT IN (
            SELECT k.cycle_id FROM checkpoints k
            JOIN alias_history p ON p.alias = 'candidate' AND p.to_checkpoint_id = k.id
            WHERE k.id NOT IN (SELECT checkpoint_id FROM aliases)
            AND NOT EXISTS (SELECT 1 FROM alias_history l
                            WHERE l.alias = 'current' AND l.to_checkpoint_id = k.id))"""
    for seq, status in db.execute(uses):
        (consumers if status == "succeeded" else claimers)[seq] += 1
    rows = db.execute("SELECT seq, id, status, attempts FROM experiences").fetchall()
    for seq, id_, status, attempts in rows:
        if consumers[seq] > 1:
            broken.consumed_twice.append(id_)
        expected = (status == "consolidated", status == "claimed")
        if (consumers[seq] > 0, claimers[seq] > 0) != expected or claimers[seq] > 1:
            broken.astray.append(
                f"{id_} {status}, {consumers[seq]} consumers, {claimers[seq]} claimers"
            )
        if status == "quarantined" and attempts < MAX_ATTEMPTS:
            broken.astray.append(f"{id_} quarantined after {attempts}")


def _check_checkpoints(
    db: sqlite3.Connection, root: Path, published_before: Collection[str], broken: Broken
) -> None:
    known = db.execute("SELECT name, files FROM checkpoints WHERE status = 'ready'").fetchall()
    for name, files in known:
        try:
            directories.verify(root, name, [CheckpointFile(**file) for file in json.loads(files)])
        except ArtifactError as error:
            broken.half_checkpoints.append(f"{name}: {error.message}")
    unknown = set(published_before) & published_names(root) - {name for name, _ in known}
    broken.half_checkpoints += [f"{name}: not registered" for name in sorted(unknown)]
    others = "SELECT name, status FROM checkpoints WHERE status != 'ready'"
    broken.half_checkpoints += [f"{name}: {status}" for name, status in db.execute(others)]
    succeeded = """SELECT c.id FROM sleep_cycles c LEFT JOIN checkpoints k ON k.cycle_id = c.id
        WHERE c.status = 'succeeded' AND k.id IS NULL"""
    broken.half_checkpoints += [f"cycle {row[0]}: no checkpoint" for row in db.execute(succeeded)]


def _check_aliases(db: sqlite3.Connection, broken: Broken) -> None:
    wrong = """SELECT a.name, k.id, k.status FROM aliases a
        JOIN checkpoints k ON k.id = a.checkpoint_id
        WHERE k.status != 'ready' OR k.instance_id != a.instance_id"""
    broken.aliases += [f"{name} -> {id_}, {status}" for name, id_, status in db.execute(wrong)]


def active_cycles(data_dir: Path) -> set[str]:
    """Ids of the cycles that are queued or running, over all instances."""
    with _opened(data_dir) as db:
        query = "SELECT id FROM sleep_cycles WHERE status IN ('queued', 'training', 'evaluating')"
        return {row[0] for row in db.execute(query)}


def count_cycles(data_dir: Path) -> Counter[str]:
    """How many cycles ended as what, over all instances."""
    with _opened(data_dir) as db:
        return Counter(
            dict(db.execute("SELECT status, count(*) FROM sleep_cycles GROUP BY status"))
        )
