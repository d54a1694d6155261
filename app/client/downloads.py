"""A checkpoint, or an export of one, brought here: streamed, resumed, verified, whole or not.

    <directory>/<checkpoint id>/        the adapter, whole and verified
    <directory>/.staging-<random>/      a download under way; swept when a day old
    <place of an export>/.<name>-<random>
                                        an export under way

Of a checkpoint the registry says what to expect: the SHA-256 of the archive (its ETag, too) and
name, size and SHA-256 of every file. Only plain files of those names are taken out of the archive,
and only kinds that nothing executes or unpickles. An export is made when it is first asked for; its
ETag is its SHA-256. Must not know who asks for the bytes: the clients do.
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

from .errors import AnswerNotUnderstood, DaemonUnavailable, DownloadCorrupt, SleepClientError
from .request import Request, segment
from .results import Checkpoint, CheckpointFile

STAGING_PREFIX = ".staging-"
STAGING_KEPT_SECONDS = 86_400.0
CHUNK_BYTES = 1 << 20

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_SAFE_SUFFIXES = frozenset({".safetensors", ".json"})

NOT_READY = "urn:sage-sleep:problem:export-not-ready"
READ_TIMEOUT_SECONDS = 120.0
"""The daemon lets a request for what is being made wait for some 20 s before it says "not yet"."""

_ETAG = re.compile(r'"([0-9a-f]{64})"', re.ASCII)
_RANGE = re.compile(r"bytes 0-0/(\d{1,18})", re.ASCII)


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


def ask_for(checkpoint_id: str, name: str) -> Request:
    """What has an export made, and says how large it is: a request for its first byte."""
    return Request(
        "GET",
        _path(checkpoint_id, name),
        headers={"Accept-Encoding": "identity", "Range": "bytes=0-0"},
        read_timeout_seconds=READ_TIMEOUT_SECONDS,
    )


def is_being_made(error: SleepClientError) -> bool:
    """Whether a refusal says that it is being made."""
    return error.problem.get("type") == NOT_READY


class ExportDownload:
    """A download under way, into a file beside its target.

    Args:
        answer: To `ask_for`.
    """

    def __init__(self, checkpoint_id: str, name: str, target: Path, answer: httpx.Response) -> None:
        etag = _ETAG.fullmatch(answer.headers.get("etag", ""))
        whole = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if etag is None or whole is None:
            raise AnswerNotUnderstood("The daemon does not say what the export is to be.")
        self.what = f"{name} of checkpoint {checkpoint_id}"
        self.size_bytes = 0
        self._path = _path(checkpoint_id, name)
        self._sha256, self._whole_bytes = etag[1], int(whole[1])
        self._target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        self._part = Path(part)
        self._file: BinaryIO = os.fdopen(descriptor, "w+b")

    def request(self) -> Request:
        """What asks for all of it, or for what is still to come."""
        headers = {"Accept-Encoding": "identity"}
        if self.size_bytes:
            headers |= {"Range": f"bytes={self.size_bytes}-", "If-Range": f'"{self._sha256}"'}
        return Request(
            "GET", self._path, headers=headers, read_timeout_seconds=READ_TIMEOUT_SECONDS
        )

    def begin(self, response: httpx.Response) -> None:
        """Look at an answer's head. Raises: DownloadCorrupt when it is another file's."""
        if response.headers.get("etag") != f'"{self._sha256}"':
            raise DownloadCorrupt("The export was made anew meanwhile; ask again.")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            self._file.seek(0)
            self._file.truncate()
            self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)
        self.size_bytes += len(chunk)

    @property
    def is_whole(self) -> bool:
        """Whether every byte came."""
        return self.size_bytes >= self._whole_bytes

    def end(self) -> None:
        """Look whether an answer that ended brought the rest. Raises: DaemonUnavailable."""
        if not self.is_whole:
            raise DaemonUnavailable("the file ended before its end")

    def finish(self) -> None:
        """Verify, sync, and give it its place. Raises: DownloadCorrupt."""
        self._file.flush()
        self._file.seek(0)
        found = sha256_of(self._file)
        if found != self._sha256:
            raise DownloadCorrupt(f"{self.what} has SHA-256 {found}, not {self._sha256}.")
        os.fsync(self._file.fileno())
        self._part.replace(self._target)

    def discard(self) -> None:
        """Remove whatever is left here."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _path(checkpoint_id: str, name: str) -> str:
    return f"/v1/checkpoints/{segment(checkpoint_id)}/files/{segment(name)}"


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
