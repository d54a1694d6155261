"""The words an instance used before, by which a reply's novelty is told.

The texts of the last `UNWRITTEN_EXPERIENCES` experiences are themselves the record of their words;
the table `seen_words` holds those of all before them, and is brought up to date once for so many.
Hashes scatter: written with every commit, the new words of eight exchanges of a hundred words took
it from 28 pages to 70. An experience whose text is erased has its words written first.

A long response's words are written with it. So what is unwritten is bounded, however the texts look
that somebody posts, and reading it again never takes seconds.

What a process knows of an instance it keeps from one transaction to the next; should another have
added experiences meanwhile, it reads the last of them again. So a restart changes no score.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from app.db.dialect import Driver
from app.domain.reply_parts import said_in
from app.domain.salience import distinct_words

UNWRITTEN_EXPERIENCES = 256
"""A guess, between many writes and one that keeps others waiting."""

LONG_CHARACTERS = 4096
"""A response of more may bring thousands of new words. A guess: most are shorter."""

MAX_WORDS = 1 << 16
"""Kept in memory for all instances together; when there are more, it starts anew."""


@dataclass(kw_only=True, slots=True)
class _Known:
    """What this process knows of an instance.

    Attributes:
        newest: Sequence number of the experience up to which it knows; 0 for none.
        words: Words it used before, as far as they are known here.
        unwritten: Hashes of words of the last experiences that may not be in the table.
        experiences: How many experiences those are from.
    """

    newest: int
    words: set[str]
    unwritten: set[int]
    experiences: int


class SeenWords:
    """One database's seen words, used within its write transactions."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def find_new(
        self, connection: Driver, instance_id: int, words: AbstractSet[str]
    ) -> dict[str, int]:
        """Those of the words that the instance never used, with their hashes."""
        known = self._known.get(instance_id)
        if known is None or known.newest != _newest(connection, instance_id):
            known = self._known[instance_id] = _read_last(connection, instance_id)
        new = {word: word_hash(word) for word in words - known.words}
        if new:
            rows = connection.execute(
                "SELECT word_hash FROM seen_words WHERE instance_id = ? "
                "AND word_hash IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
                (instance_id, json.dumps(list(new.values()))),
            ).fetchall()
            written = {found for (found,) in rows}
            known.words.update(word for word in new if new[word] in written)
            new = {word: hashed for word, hashed in new.items() if hashed not in written}
        return new

    def add(
        self,
        connection: Driver,
        instance_id: int,
        words: Mapping[str, int],
        responses: Sequence[str],
    ) -> None:
        """Note that these responses, just inserted, brought these new words."""
        known = self._known[instance_id]
        known.newest = _newest(connection, instance_id)
        known.words.update(words)
        unwritten = set(words.values())
        if any(len(response) > LONG_CHARACTERS for response in responses):
            _write(connection, instance_id, unwritten)
        else:
            known.unwritten |= unwritten
        known.experiences += len(responses)
        if known.experiences > UNWRITTEN_EXPERIENCES:
            _write(connection, instance_id, known.unwritten)
            known.unwritten.clear()
            known.experiences = 0

    def keep(self) -> None:
        """The transaction was committed."""
        if sum(len(known.words) for known in self._known.values()) > MAX_WORDS:
            self._known.clear()

    def forget(self) -> None:
        """The transaction was rolled back: read anew what is known."""
        self._known.clear()


def write_words(connection: Driver, instance_id: int, words: Collection[str]) -> None:
    """Put words into the table; those already there stay."""
    _write(connection, instance_id, [word_hash(word) for word in words])


def word_hash(word: str) -> int:
    """A signed 64-bit hash of a word (BLAKE2b), equal on every machine and in every run."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _write(connection: Driver, instance_id: int, hashes: Collection[int]) -> None:
    connection.execute(
        "INSERT INTO seen_words (instance_id, word_hash) "
        "SELECT ?, CAST(value AS BIGINT) FROM json_each(?) WHERE true ON CONFLICT DO NOTHING",
        (instance_id, json.dumps(list(hashes))),
    )


def _newest(connection: Driver, instance_id: int) -> int:
    (newest,) = connection.execute(
        "SELECT max(seq) FROM experiences WHERE instance_id = ?", (instance_id,)
    ).fetchone()
    return newest or 0


def _read_last(connection: Driver, instance_id: int) -> _Known:
    rows = connection.execute(
        "SELECT seq, CASE WHEN length(response) > ? THEN '' ELSE response END FROM experiences "
        "WHERE instance_id = ? ORDER BY seq DESC LIMIT ?",
        (LONG_CHARACTERS, instance_id, UNWRITTEN_EXPERIENCES),
    ).fetchall()
    words = set[str]().union(*(distinct_words(said_in(response)) for _, response in rows))
    return _Known(
        newest=rows[0][0] if rows else 0,
        words=words,
        unwritten=set(map(word_hash, words)),
        experiences=len(rows),
    )
