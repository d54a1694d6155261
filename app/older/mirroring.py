"""Where `dropbox_sync` copies sleeps to: any rclone remote, as the daemon does.

    <remote>/<machine>-<hash of the directory's place>/cycle_001/

The remote is the daemon's mirror, `SAGE_MIRROR=name:path`, configured by `RCLONE_CONFIG_<NAME>_…`
(Dropbox among them). Must not know training.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from app.artifacts.directories import describe_file
from app.domain.mirror import NO_REMOTE, is_remote
from app.errors import InvalidPolicy, SageSleepError
from app.log import get_logger
from app.runtimes.mirror import Mirror
from app.runtimes.rclone import from_environment

VARIABLE = "SAGE_MIRROR"
COPY_SECONDS = 3600.0

_log = get_logger(__name__)


def find_remote() -> str | None:
    """The mirror that the environment names; None, with a warning, where it names none.

    Raises: InvalidPolicy.
    """
    remote = os.environ.get(VARIABLE, "").strip()
    if not remote:
        warnings.warn(
            f"dropbox_sync copies nothing: set {VARIABLE} to name:path of an rclone remote, which "
            "RCLONE_CONFIG_<NAME>_TYPE and its like configure.",
            stacklevel=3,
        )
        return None
    if not is_remote(remote):
        raise InvalidPolicy(f"{VARIABLE} {NO_REMOTE}")
    return remote


def place_of(directory: Path) -> str:
    """What a directory of sleeps is called in a mirror: another one there for every other here."""
    machine = re.sub(r"[^a-z0-9-]+", "-", platform.node().lower()).strip("-") or "machine"
    digest = hashlib.sha256(str(directory.absolute()).encode()).hexdigest()
    return f"{machine}-{digest[:8]}"


def copy_all(remote: str, directory: Path, names: Iterable[str]) -> list[str]:
    """Copy sleeps that are not in the mirror; the names of those that are there then.

    What fails is said in the log, and left for the next time.
    """
    done: list[str] = []
    try:
        mirror = Mirror(rclone=from_environment(COPY_SECONDS), remote=remote)
        for name in names:
            files = [describe_file(path) for path in sorted((directory / name).iterdir())]
            mirror.publish(directory / name, f"{place_of(directory)}/{name}", files)
            done.append(name)
    except SageSleepError as error:
        _log.warning("mirror.failed", error=error.message)
    return done
