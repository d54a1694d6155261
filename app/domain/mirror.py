"""Mirrors: what names one, what a checkpoint is called there, and when a failure is tried again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from app.domain.exchange import SLUG_PATTERN
from app.domain.gate import VerdictStatus

NO_REMOTE = (
    "must be `name:path`, of a remote that RCLONE_CONFIG_<NAME>_TYPE and its like configure; never "
    "a connection string, which may hold secrets"
)

FIRST_DELAY_SECONDS = 5.0
DELAY_FACTOR = 3.0
MAX_DELAY_SECONDS = 900.0
"""After the first failure 5 s, then 15 s, 45 s, ... so an outage that ends is noticed within a
quarter of an hour."""

READ_AGAIN_AFTER = timedelta(days=7)
"""What lies in a mirror is read back again: bytes flip at rest, and disks are emptied. A guess."""

MAX_TIMES_LONGER = 10
"""Beyond it nothing waits longer; it only keeps the numbers small."""

_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*:[^\x00-\x1f\x7f]*", re.ASCII)


CHECKPOINT_PATTERN = rf"^{SLUG_PATTERN[1:-1]}/[1-9][0-9]{{0,8}}-[0-9A-HJKMNP-TV-Z]{{26}}$"
"""What a checkpoint is called in a mirror, as in the place where its machine keeps it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptedFrom:
    """Where an adopted checkpoint comes from: the words of its maker's manifest.

    Attributes:
        mirror: `name:path` of the mirror that it was pulled from.
        instance, name, checkpoint_id: What its maker calls it.
        manifest_sha256: Of its maker's manifest, which says what it was trained on.
        adapter_sha256: Of the weights, which are the same here.
        base_sha256: Fingerprint of the base that it was trained on.
        verdict: What the gate said there; here it speaks again.
    """

    mirror: str
    instance: str
    name: str
    checkpoint_id: str
    manifest_sha256: str
    adapter_sha256: str
    base_sha256: str
    verdict: VerdictStatus
    created_at: str


class UnmirrorReason(StrEnum):
    """Why a copy went from a mirror."""

    DELETED = "deleted"
    ERASED = "erased"


def is_remote(text: str) -> bool:
    """Whether a text names a configured remote and a path in it, `name:path`.

    A connection string (`:webdav,pass=…:` or `name,pass=…:`) is none: it may hold secrets.
    """
    name, _, path = text.partition(":")
    return bool(name and _REMOTE.fullmatch(text)) and ".." not in path.split("/")


def retry_delay(failures: int) -> float:
    """Seconds until the next try after so many failures in a row."""
    times_longer = min(failures - 1, MAX_TIMES_LONGER)
    return min(FIRST_DELAY_SECONDS * DELAY_FACTOR**times_longer, MAX_DELAY_SECONDS)
