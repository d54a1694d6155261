"""Exchanges on their way, kept on this machine until the daemon has them.

A file of SQLite, from the standard library, and not lines of JSON: an add is one commit, so a
process that is killed, or a disk that loses power, leaves the exchange whole or not there at all
(write-ahead log with checksums, synced before `add` returns); two processes may use one file at
once; and what was delivered is taken out without a second file of offsets that could disagree
with the first. A JSONL file would need its own lock, its own repair of torn lines, its own
compaction.

Plain SQL, since Python 3.10 is found with SQLite of 2020 (no STRICT, no RETURNING).

What is delivered is overwritten (`secure_delete`), for these are conversations; the file is the
owner's alone (0600). It must lie on a local disk.

An exchange leaves the spool after the daemon answered for it. If that answer is lost it is posted
again, and the daemon, which knows it by its content, keeps it once; so does it when two processes
deliver the same spool at the same time. Must not know how answers are had.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import RequestRefused, SpoolFull, SpoolUnusable
from .results import BatchItem, Problem
from .wire import Exchange, decode, to_wire

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_BYTES = 256 * 1024 * 1024
"""About 600,000 exchanges of fifty words: 420 bytes each, measured."""

PAGE_BYTES = 4096
LOCK_TIMEOUT_SECONDS = 30.0
FORMAT = 1
FULL = "database or disk is full"
"""SQLite's own words; Python 3.10 does not hand on its error codes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, exchange TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (
    seq INTEGER PRIMARY KEY, exchange TEXT NOT NULL, reason TEXT NOT NULL, problem TEXT NOT NULL,
    rejected_at TEXT NOT NULL
);
"""

BATCH = 100
"""Exchanges a request: few enough for a small machine's patience, and a batch costs one commit."""

REFUSING_STATUSES = frozenset({400, 409, 413, 415, 422})
"""What is wrong with an exchange itself. Anything else (no such instance, a token that does not
suffice, too many requests) can be mended elsewhere, so the exchange waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An exchange that the daemon does not have yet."""

    seq: int
    exchange: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """An exchange that the daemon refused for what it is, and why; `problem` is its document."""

    seq: int
    exchange: Mapping[str, Any]
    reason: str
    problem: Mapping[str, Any]
    rejected_at: datetime


class Spool:
    """A queue of exchanges in one file; threads and processes may share it."""

    def __init__(self, path: Path | str, *, max_bytes: int = MAX_BYTES) -> None:
        """Open the file, or create it with its directory.

        Args:
            max_bytes: Size of the file at which `add` raises SpoolFull; nothing is ever dropped.

        Raises: SpoolUnusable.
        """
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_private(self.path)
            self._connection = sqlite3.connect(
                self.path,
                timeout=LOCK_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            raise SpoolUnusable(f"The spool {self.path} cannot be opened: {error}") from error
        try:
            with self._translated():
                self._prepare(max_bytes)
        except SpoolUnusable:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """How many exchanges wait."""
        (count,) = self._all("SELECT count(*) FROM waiting")[0]
        return int(count)

    def close(self) -> None:
        """Close the file; what waits in it stays."""
        with self._lock:
            self._connection.close()

    def add(self, exchange: Exchange | Mapping[str, Any]) -> int:
        """Keep an exchange; on the disk when this returns. Its time is now, unless it has one.

        Returns:
            Its number; later ones have larger ones.

        Raises: SpoolFull, SpoolUnusable, ValueError or TypeError for what is no JSON.
        """
        wire = {"occurred_at": datetime.now(timezone.utc).isoformat(), **to_wire(exchange)}
        text = json.dumps(wire, allow_nan=False)
        with self._lock, self._translated():
            cursor = self._connection.execute("INSERT INTO waiting (exchange) VALUES (?)", [text])
            return int(cursor.lastrowid or 0)

    def peek(self, limit: int, *, after: int = 0, max_bytes: int = PAGE_BYTES) -> list[Waiting]:
        """Return the first exchanges behind a number, in order, without taking them out.

        Args:
            max_bytes: No more than so many bytes of text, but at least one exchange.
        """
        rows = self._all(
            "SELECT seq, exchange FROM waiting WHERE seq > ? ORDER BY seq LIMIT ?", after, limit
        )
        found: list[Waiting] = []
        size_bytes = 0
        for seq, text in rows:
            size_bytes += len(text)
            if found and size_bytes > max_bytes:
                break
            found.append(Waiting(seq=seq, exchange=json.loads(text)))
        return found

    def settle(
        self, delivered: Sequence[int], refused: Sequence[tuple[int, str, Mapping[str, Any]]]
    ) -> None:
        """Take out what was delivered, and set aside what was refused, with reason and problem."""
        now = datetime.now(timezone.utc).isoformat()
        with self._lock, self._translated(), self._transaction():
            for seq, reason, problem in refused:
                self._connection.execute(
                    "INSERT OR REPLACE INTO rejected "
                    "SELECT seq, exchange, ?, ?, ? FROM waiting WHERE seq = ?",
                    [reason, json.dumps(problem), now, seq],
                )
            settled = [*delivered, *(seq for seq, _, _ in refused)]
            self._connection.executemany(
                "DELETE FROM waiting WHERE seq = ?", [(seq,) for seq in settled]
            )

    def is_waiting(self, seq: int) -> bool:
        """Whether an exchange is still to be delivered."""
        return bool(self._all("SELECT 1 FROM waiting WHERE seq = ?", seq))

    def find_rejected(self, seq: int) -> Rejected | None:
        """The refusal of an exchange, if it was refused."""
        found = self._list_rejected("WHERE seq = ?", seq)
        return found[0] if found else None

    def list_rejected(self) -> list[Rejected]:
        """All that was refused, in the order it was added."""
        return self._list_rejected("ORDER BY seq")

    def retry_rejected(self) -> int:
        """Queue what was refused once more, behind what waits; returns how many."""
        with self._lock, self._translated(), self._transaction():
            cursor = self._connection.execute(
                "INSERT INTO waiting (exchange) SELECT exchange FROM rejected ORDER BY seq"
            )
            self._connection.execute("DELETE FROM rejected")
            return cursor.rowcount

    def forget_rejected(self) -> int:
        """Delete what was refused; returns how many."""
        with self._lock, self._translated():
            return self._connection.execute("DELETE FROM rejected").rowcount

    def _prepare(self, max_bytes: int) -> None:
        run = self._connection.execute
        (found,) = run("PRAGMA user_version").fetchone()
        if found > FORMAT:
            raise SpoolUnusable(f"The spool {self.path} was written by a newer client.")
        run(f"PRAGMA page_size = {PAGE_BYTES}")
        run("PRAGMA auto_vacuum = FULL")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA secure_delete = ON")
        run(f"PRAGMA max_page_count = {max(8, max_bytes // PAGE_BYTES)}")
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                run(statement)
            run(f"PRAGMA user_version = {FORMAT}")

    def _list_rejected(self, condition: str, *values: Any) -> list[Rejected]:
        columns = "seq, exchange, reason, problem, rejected_at"
        rows = self._all(f"SELECT {columns} FROM rejected {condition}", *values)  # noqa: S608  # ours
        return [
            Rejected(
                seq=seq,
                exchange=json.loads(text),
                reason=reason,
                problem=json.loads(problem),
                rejected_at=datetime.fromisoformat(at),
            )
            for seq, text, reason, problem, at in rows
        ]

    def _all(self, query: str, *values: Any) -> list[Any]:
        with self._lock, self._translated():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if FULL in str(error):
                raise SpoolFull(
                    f"The spool {self.path} is full, or its disk is; start the daemon, so that it "
                    "empties."
                ) from error
            raise SpoolUnusable(f"The spool {self.path} cannot be used: {error}") from error


def _create_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives its log the same mode.

    One that is there is not opened: closing it again would drop this process's locks on it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What one pass over a spool came to.

    Attributes:
        results: By number in the spool: delivered or refused.
        held_back: By number: why an exchange still waits although the daemon answered.
    """

    results: Mapping[int, BatchItem] = field(default_factory=dict)
    held_back: Mapping[int, str] = field(default_factory=dict)


def refused_alone(error: RequestRefused) -> BatchItem:
    """The refusal of a request that held one exchange, as that of the exchange."""
    problem = error.problem or {"detail": str(error), "status": error.status}
    return BatchItem(index=0, result="rejected", problem=decode(Problem, problem))


def settle(spool: Spool, waiting: Sequence[Waiting], items: Sequence[BatchItem]) -> Delivery:
    """Take out of the spool what the daemon has or refused for what it is."""
    results: dict[int, BatchItem] = {}
    held_back: dict[int, str] = {}
    for entry, item in zip(waiting, items, strict=True):
        if _is_final(item):
            results[entry.seq] = item
        else:
            held_back[entry.seq] = _reason(item)
    spool.settle(
        delivered=[seq for seq, item in results.items() if item.result != "rejected"],
        refused=[
            (seq, _reason(item), item.problem.raw if item.problem else {})
            for seq, item in results.items()
            if item.result == "rejected"
        ],
    )
    return Delivery(results=results, held_back=held_back)


def _is_final(item: BatchItem) -> bool:
    status = item.problem.status if item.problem else None
    return item.result != "rejected" or status in REFUSING_STATUSES


def _reason(item: BatchItem) -> str:
    return (item.problem and item.problem.detail) or "refused without a reason"
