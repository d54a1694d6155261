"""The words an instance used before: the table `seen_words`, and what this process knows of it.

Words are only ever added, so what was once committed to the table stays true, whoever else writes.
Most words of a reply are common ones, and those remembered need neither hashing nor looking up.
The table holds 64-bit hashes, since novelty needs no text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Set as AbstractSet
from sqlite3 import Connection

MAX_REMEMBERED = 1 << 16
"""Words of all instances together; some 8 MB. When they get more, remembering starts anew."""


class SeenWords:
    """One database's seen words, used within its write transactions."""

    def __init__(self) -> None:
        self._remembered: dict[int, set[str]] = {}
        self._uncommitted: list[tuple[int, AbstractSet[str]]] = []

    def add(
        self, connection: Connection, instance_id: int, words: AbstractSet[str]
    ) -> AbstractSet[str]:
        """Add words to an instance's; returns those that are new to it."""
        unknown = words - self._remembered.get(instance_id, frozenset())
        if not unknown:
            return unknown
        by_hash = {word_hash(word): word for word in unknown}
        rows = connection.execute(
            "INSERT OR IGNORE INTO seen_words (instance_id, word_hash) "
            "SELECT ?, value FROM json_each(?) RETURNING word_hash",
            (instance_id, json.dumps(list(by_hash))),
        ).fetchall()
        self._uncommitted.append((instance_id, unknown))
        return {by_hash[inserted] for (inserted,) in rows}

    def keep(self) -> None:
        """The transaction was committed: remember what it added."""
        for instance_id, words in self._uncommitted:
            self._remembered.setdefault(instance_id, set()).update(words)
        self._uncommitted.clear()
        if sum(map(len, self._remembered.values())) > MAX_REMEMBERED:
            self._remembered.clear()

    def drop(self) -> None:
        """The transaction was rolled back: forget what it added."""
        self._uncommitted.clear()


def word_hash(word: str) -> int:
    """A signed 64-bit hash of a word (BLAKE2b), equal on every machine and in every run."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
