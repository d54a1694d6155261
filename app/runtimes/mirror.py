"""Checkpoints in a mirror: copied there whole or not at all, verified by our own hashes, and back.

    <remote>/<instance>/<number>-<ulid>/            as below a checkpoint root
    <remote>/<instance>/.incoming-<number>-<ulid>/  what is being copied

Many remotes keep no hashes (WebDAV): `rclone check` calls a flipped byte fine there, and `copy`
leaves it, since size and time are equal. So every file is read back and hashed against our own
list, and what differs is copied again whatever its time. A directory gets its final name when it
was verified. All that comes from a remote is doubted: names, sizes, and the manifest. Must not
know the database.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE, MANIFEST_FILE, CheckpointFile
from app.domain.manifest import MANIFEST_FORMAT, Manifest
from app.domain.mirror import CHECKPOINT_PATTERN, NO_REMOTE, is_remote
from app.domain.stored import from_json
from app.errors import (
    BaseDiffers,
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointNotFound,
    RuntimeRefuses,
    RuntimeUnavailable,
    SageSleepError,
)
from app.runtimes.rclone import MAX_ANSWER_BYTES, NOT_FOUND_CODES, Rclone

INCOMING_PREFIX = ".incoming-"

MAX_FILE_BYTES: Mapping[str, int] = {CONFIG_FILE: 1024 * 1024, ADAPTER_FILE: 4 * 1024**3}
"""The most that is pulled of each file. A guess: an adapter of 7 billion weights has 0.3 GB."""

MAX_LISTED = 200
MAX_LISTED_BYTES = 64 * 1024 * 1024
"""Of what one look at the mirror shows and reads."""

MAX_TEXT = 256
"""Characters of what a base is called: as many as a directory's name has at most, or a hub id."""

_NAME = re.compile(CHECKPOINT_PATTERN, re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Names of checkpoints in a mirror; `is_cut` where there are older ones."""

    names: tuple[str, ...]
    is_cut: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """Where checkpoints are mirrored.

    Attributes:
        remote: `name:path`; never a connection string, which may hold secrets.

    Every method raises RuntimeUnavailable where the remote, or rclone, does not answer.
    """

    rclone: Rclone
    remote: str

    def __post_init__(self) -> None:
        if not is_remote(self.remote):
            raise RuntimeRefuses(f"The mirror {NO_REMOTE}.")

    def publish(self, directory: Path, name: str, files: Sequence[CheckpointFile]) -> bool:
        """Have a checkpoint in the mirror, whole; False where it was there already.

        What was cut off before is copied again, and what is damaged there is repaired.

        Args:
            directory: That holds its files on this machine.
            files: Its files, the manifest among them.

        Raises: CheckpointFilesAltered: What this machine holds is not what was published.
        """
        final = self.place(name)
        bad = self.find_damaged(final, files)
        if not bad:
            return False
        if len(bad) < len(files) or self._is_there(final):
            self._copy(directory, final, bad)
            self._demand_whole(final, files)
            return True
        incoming = self._incoming(name)
        self._copy(directory, incoming, [file.name for file in files])
        self._demand_whole(incoming, files)
        self.rclone.ask("moveto", incoming, final)
        return True

    def find_damaged(self, place: str, files: Sequence[CheckpointFile]) -> list[str]:
        """Names of the files that are missing or differ there, every byte read back."""
        with tempfile.TemporaryDirectory() as room:
            sums = Path(room) / "SHA256SUMS"
            sums.write_text("".join(f"{file.sha256}  {file.name}\n" for file in files))
            answer = self.rclone.ask(
                "checksum",
                "sha256",
                str(sums),
                place,
                flags=("--download", "--one-way", "--combined", "-"),
                allowed={1, *NOT_FOUND_CODES},
            )
        if answer.code in NOT_FOUND_CODES:
            return [file.name for file in files]
        found = {line[2:]: line[0] for line in answer.text.splitlines() if line[1:2] == " "}
        if any(file.name not in found or found[file.name] == "!" for file in files):
            raise RuntimeUnavailable(f"The mirror cannot be read: {answer.said or 'no answer'}")
        return [file.name for file in files if found[file.name] != "="]

    def list_all(self) -> Listing:
        """Names of the newest checkpoints of all instances there, the newest first."""
        answer = self.rclone.ask(
            "lsf",
            self.remote,
            flags=(
                *("--recursive", "--max-depth", "3", "--files-only"),
                *("--include", f"/*/*/{MANIFEST_FILE}"),
            ),
            allowed=NOT_FOUND_CODES,
        )
        paths = (line.rpartition("/") for line in answer.text.splitlines())
        # Once each: some remotes hold a name twice, or list it again after a retry.
        named = {name for name, _, _ in paths if _NAME.fullmatch(name)}
        found = sorted(named, key=lambda name: name.rpartition("-")[2], reverse=True)  # by time
        return Listing(names=tuple(found[:MAX_LISTED]), is_cut=len(found) > MAX_LISTED)

    def read_manifests(self, names: Collection[str]) -> dict[str, Manifest | SageSleepError]:
        """What the mirror says of some checkpoints, or why that cannot be used, by name."""
        if not names:
            return {}
        with tempfile.TemporaryDirectory() as room:
            self.rclone.ask(
                "copy",
                self.remote,
                room,
                flags=(
                    *("--files-from-raw", "-", "--ignore-times"),
                    *("--max-transfer", f"{MAX_LISTED_BYTES}B", "--cutoff-mode", "hard"),
                ),
                given=[f"{name}/{MANIFEST_FILE}" for name in names],
                allowed={8, *NOT_FOUND_CODES},  # too much, or some gone: each is looked at
            )
            return {name: _try_read(name, Path(room) / name / MANIFEST_FILE) for name in names}

    def read_manifest(self, name: str) -> tuple[Manifest, bytes]:
        """What the mirror says of a checkpoint, and the manifest's own bytes.

        Raises: CheckpointNotFound; CheckpointFilesAltered: No manifest of this name.
        """
        answer = self.rclone.ask(
            "cat", f"{self.place(name)}/{MANIFEST_FILE}", allowed=NOT_FOUND_CODES
        )
        if answer.code in NOT_FOUND_CODES or not answer.output:
            raise CheckpointNotFound(f"The mirror holds no {name}.")
        return _read(name, answer.output), answer.output

    def pull(
        self, name: str, directory: Path, *, is_same_base: Callable[[Manifest], bool]
    ) -> Manifest:
        """Bring a checkpoint into an empty directory, and check every byte of it.

        Args:
            is_same_base: Whether it was trained on the base that it is wanted for.

        Raises: BaseDiffers; CheckpointNotFound, CheckpointFilesMissing, CheckpointFilesAltered.
        """
        manifest, text = self.read_manifest(name)
        if not is_same_base(manifest):
            raise BaseDiffers(f"{name} was trained on another base model than the one here.")
        total = sum(file.size_bytes for file in manifest.files.values())
        self.rclone.ask(
            "copy",
            self.place(name),
            str(directory),
            flags=(
                *("--ignore-times", "--files-from-raw", "-"),
                *("--max-transfer", f"{total + 1}B", "--cutoff-mode", "hard"),
            ),
            given=sorted(manifest.files),
            allowed={8},  # more than was promised: the check below says of which file
        )
        for file_name, file in manifest.files.items():
            _check(directory / file_name, name, file.size_bytes, file.sha256)
        (directory / MANIFEST_FILE).write_bytes(text)
        return manifest

    def remove(self, name: str) -> None:
        """Delete a checkpoint there, and what was copied of it before; twice is the same as once.

        What the remote itself keeps of deleted files, such as versions or a bin, stays.
        """
        for place in (self._incoming(name), self.place(name)):
            if self._is_there(place):  # a purge of nothing ends as any other that fails
                self.rclone.ask("purge", place)

    def place(self, name: str) -> str:
        """Where a name lies in the mirror."""
        apart = "" if self.remote.endswith((":", "/")) else "/"
        return f"{self.remote}{apart}{name}"

    def _incoming(self, name: str) -> str:
        instance, _, last = name.rpartition("/")
        return self.place(f"{instance}/{INCOMING_PREFIX}{last}")

    def _is_there(self, place: str) -> bool:
        return self.rclone.ask("lsf", place, allowed=NOT_FOUND_CODES).code == 0

    def _copy(self, directory: Path, place: str, names: Sequence[str]) -> None:
        self.rclone.ask(
            "copy",
            str(directory),
            place,
            # one at a time: two that make one directory at once lock each other out of WebDAV
            flags=("--ignore-times", "--transfers", "1", "--files-from-raw", "-"),
            given=names,
        )

    def _demand_whole(self, place: str, files: Sequence[CheckpointFile]) -> None:
        bad = self.find_damaged(place, files)
        if bad:
            raise CheckpointFilesAltered(
                f"{bad[0]} in the mirror is not the file that was published, and copying it again "
                "did not help: look at the checkpoint here (`sage-sleep doctor`).",
                file=bad[0],
            )


def _check(path: Path, name: str, size_bytes: int, sha256: str) -> None:
    if not path.is_file():
        raise CheckpointFilesMissing(f"The mirror's {name} lacks {path.name}.", file=path.name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.stat().st_size != size_bytes or digest != sha256:
        raise CheckpointFilesAltered(
            f"The mirror's {name}/{path.name} is not what its manifest says.", file=path.name
        )


def _try_read(name: str, path: Path) -> Manifest | SageSleepError:
    try:
        with path.open("rb") as file:
            return _read(name, file.read(MAX_ANSWER_BYTES))  # cut, it cannot be read
    except OSError:
        return CheckpointFilesMissing(f"The manifest of {name} cannot be had.", file=MANIFEST_FILE)
    except SageSleepError as error:
        return error


def _read(name: str, text: bytes) -> Manifest:
    """Raises: CheckpointFilesAltered."""
    try:
        manifest = from_json(Manifest, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise _no_manifest(name, "cannot be read") from error
    if manifest.format != MANIFEST_FORMAT:
        raise _no_manifest(name, "is of another version")
    number, _, checkpoint_id = name.rpartition("/")[2].partition("-")
    if (manifest.name, manifest.id, manifest.instance) != (
        name,
        checkpoint_id,
        name.partition("/")[0],
    ) or str(manifest.cycle.number) != number:
        raise _no_manifest(name, "is another checkpoint's")
    if not _can_be_shown(manifest):
        raise _no_manifest(name, "tells what no cycle writes")
    if manifest.files.keys() != MAX_FILE_BYTES.keys() or any(
        not 0 < file.size_bytes <= MAX_FILE_BYTES[one] or not _SHA256.fullmatch(file.sha256)
        for one, file in manifest.files.items()
    ):
        raise _no_manifest(name, "names files that no checkpoint has")
    return manifest


def _can_be_shown(manifest: Manifest) -> bool:
    """Whether all that is shown of it, and noted where it is adopted, is what a cycle writes.

    A text that is no text (half a surrogate pair) or no time would keep all others from being
    listed.
    """
    base, origin = manifest.base_model, manifest.plan.adopted_from
    try:
        created_at = datetime.fromisoformat(manifest.created_at)
    except ValueError:
        return False
    return (
        created_at.tzinfo is not None
        and all(len(text) <= MAX_TEXT and text.isprintable() for text in (base.name, base.revision))
        and (origin is None or _NAME.fullmatch(origin.name) is not None)
    )


def _no_manifest(name: str, why: str) -> CheckpointFilesAltered:
    return CheckpointFilesAltered(f"The mirror's manifest of {name} {why}.", file=MANIFEST_FILE)
