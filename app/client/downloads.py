"""A checkpoint brought here: streamed, resumed, verified, and there in one rename or not at all.

    <directory>/<checkpoint id>/        the adapter, whole and verified
    <directory>/.staging-<random>/      a download under way; swept when a day old

The registry says what to expect: the SHA-256 of the archive (its ETag, too) and name, size and
SHA-256 of every file. Only plain files of those names are taken out of the archive, and only kinds
that nothing executes or unpickles. Must not know who asks for the bytes: the clients do.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import httpx

from .errors import DaemonUnavailable, DownloadCorrupt
from .request import Request, segment
from .results import Checkpoint, CheckpointFile

STAGING_PREFIX = ".staging-"
STAGING_KEPT_SECONDS = 86_400.0
CHUNK_BYTES = 1 << 20

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_SAFE_SUFFIXES = frozenset({".safetensors", ".json"})


def check_names(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose files could not lie safely. Raises: DownloadCorrupt."""
    for name in (checkpoint.id, *(file.name for file in checkpoint.files)):
        if not _PLAIN_NAME.fullmatch(name):
            raise DownloadCorrupt(f"{name!r} is no plain name; the daemon must not be trusted.")
    for file in checkpoint.files:
        if Path(file.name).suffix not in _SAFE_SUFFIXES:
            raise DownloadCorrupt(f"{file.name} is of a kind that no checkpoint holds.")


def is_there(target: Path, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint lies here whole, byte for byte."""
    return all(_matches(target / file.name, file) for file in checkpoint.files)


class Staging:
    """A download under way, in a directory of its own."""

    def __init__(self, directory: Path, checkpoint: Checkpoint) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
        self.checkpoint = checkpoint
        self._root = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=directory))
        self._archive: BinaryIO = (self._root / "archive.tar").open("w+b")
        self._etag = f'"{checkpoint.archive.sha256}"'
        self.size_bytes = 0
        self.what = f"checkpoint {checkpoint.id}"

    def request(self) -> Request:
        """What asks for the archive, or for what is still to come of it."""
        headers = {"Accept-Encoding": "identity"}
        if self.size_bytes:
            headers |= {"Range": f"bytes={self.size_bytes}-", "If-Range": self._etag}
        path = f"/v1/checkpoints/{segment(self.checkpoint.id)}/archive"
        return Request("GET", path, headers=headers)

    def begin(self, response: httpx.Response) -> None:
        """Look at an answer's head. Raises: DownloadCorrupt when it is another archive's."""
        if response.headers.get("etag") != self._etag:
            raise DownloadCorrupt("The archive's ETag is not what the registry says.")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            self._archive.seek(0)
            self._archive.truncate()
            self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises: DownloadCorrupt when there are too many."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self.checkpoint.archive.size_bytes:
            raise DownloadCorrupt("The archive is longer than the registry says.")
        self._archive.write(chunk)

    @property
    def is_whole(self) -> bool:
        """Whether every byte came."""
        return self.size_bytes >= self.checkpoint.archive.size_bytes

    def end(self) -> None:
        """Look whether an answer that ended brought the rest. Raises: DaemonUnavailable."""
        if not self.is_whole:
            raise DaemonUnavailable("the archive ended before its end")

    def finish(self, target: Path) -> None:
        """Verify, unpack, sync, and give the checkpoint its place. Raises: DownloadCorrupt."""
        self._archive.seek(0)
        digest = sha256_of(self._archive)
        if digest != self.checkpoint.archive.sha256:
            raise DownloadCorrupt(
                f"The archive of checkpoint {self.checkpoint.id} has SHA-256 {digest}, not "
                f"{self.checkpoint.archive.sha256}."
            )
        unpacked = self._root / "unpacked"
        unpacked.mkdir()
        self._archive.seek(0)
        unpack(self._archive, unpacked, self.checkpoint)
        self._take_place(unpacked, target)

    def discard(self) -> None:
        """Remove whatever is left here."""
        self._archive.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def _take_place(self, unpacked: Path, target: Path) -> None:
        """Rename; where another process was faster, its copy is as good, and a broken one goes."""
        for attempt in range(3):
            try:
                unpacked.rename(target)
                break
            except OSError:
                if is_there(target, self.checkpoint):
                    return
                if attempt == 2 or not target.exists():
                    raise
                target.rename(self._root / f"replaced-{attempt}")
        _sync(target.parent)


def unpack(archive: object, directory: Path, checkpoint: Checkpoint) -> None:
    """Take exactly the checkpoint's files out of a tar, each verified and synced.

    Raises: DownloadCorrupt for a member that is no plain file, lies anywhere but in the archive's
    own directory, is not expected, comes twice, is missing, or is not what the registry promised.
    """
    root = checkpoint.name.replace("/", "-")
    expected = {f"{root}/{file.name}": file for file in checkpoint.files}
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:  # type: ignore[call-overload]
            for member in tar:
                file = expected.pop(member.name, None)
                source = tar.extractfile(member) if member.isreg() else None
                if file is None or source is None:
                    raise DownloadCorrupt(f"The archive holds {member.name!r}, which is not of it.")
                path = directory / file.name
                with path.open("xb") as unpacked:
                    shutil.copyfileobj(source, unpacked, CHUNK_BYTES)
                    unpacked.flush()
                    os.fsync(unpacked.fileno())
                if not _matches(path, file):
                    raise DownloadCorrupt(f"{file.name} is not the file that was published.")
    except tarfile.TarError as error:
        raise DownloadCorrupt(f"The archive cannot be read: {error}") from error
    if expected:
        raise DownloadCorrupt(f"The archive lacks {', '.join(sorted(expected))}.")
    _sync(directory)


def _matches(path: Path, file: CheckpointFile) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != file.size_bytes:
            return False
        with path.open("rb") as opened:
            return sha256_of(opened) == file.sha256
    except OSError:
        return False


def sha256_of(opened: BinaryIO) -> str:
    """SHA-256 of what is still to be read, hex."""
    digest = hashlib.sha256()
    while chunk := opened.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _sweep(directory: Path) -> None:
    """Remove downloads that a killed process left here."""
    for path in directory.glob(f"{STAGING_PREFIX}*"):
        try:
            is_old = time.time() - path.stat().st_mtime > STAGING_KEPT_SECONDS
        except OSError:
            continue
        if is_old:
            shutil.rmtree(path, ignore_errors=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
