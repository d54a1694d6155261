"""An export of a checkpoint brought here: waited for, streamed, resumed, verified; whole or not.

What it is to be, its ETag says, which is its SHA-256. Must not know who asks for the bytes: the
clients do.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

import httpx

from .downloads import sha256_of
from .errors import AnswerNotUnderstood, DaemonUnavailable, DownloadCorrupt, SleepClientError
from .request import Request, segment

NOT_READY = "urn:sage-sleep:problem:export-not-ready"
READ_TIMEOUT_SECONDS = 120.0
"""The daemon lets a request for what is being made wait for some 20 s before it says "not yet"."""

_ETAG = re.compile(r'"([0-9a-f]{64})"', re.ASCII)
_RANGE = re.compile(r"bytes 0-0/(\d{1,18})", re.ASCII)


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
