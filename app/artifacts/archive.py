"""A checkpoint as one tar that is never written to disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.checkpoint import (
    CheckpointFile,
)
from app.errors import (
    CheckpointFilesMissing,
)

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An uncompressed tar of a checkpoint that is never written to disk.

    Headers and padding are made here and the files lie between them, so its length is known, any
    range can be read, and the same checkpoint gives the same bytes (one owner, one time, one
    order).
    """

    parts: tuple[bytes | Path, ...]
    sizes: tuple[int, ...]

    def check_present(self) -> None:
        """Raise CheckpointFilesMissing unless every file is there with its size."""
        for part, size in zip(self.parts, self.sizes, strict=True):
            if isinstance(part, Path) and not (part.is_file() and part.stat().st_size == size):
                raise CheckpointFilesMissing(
                    f"{part.name} is gone from the disk, or has another size.", file=part.name
                )

    @property
    def size_bytes(self) -> int:
        """Length of the whole archive."""
        return sum(self.sizes)

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole archive, hex."""
        digest = hashlib.sha256()
        for chunk in self.read(0, self.size_bytes):
            digest.update(chunk)
        return digest.hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, without, `end` in chunks."""
        offset = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            first, last = max(start - offset, 0), min(end - offset, size)
            offset += size
            if first >= last:
                continue
            with contextlib.closing(
                io.BytesIO(part) if isinstance(part, bytes) else part.open("rb")
            ) as source:
                source.seek(first)
                remaining = last - first
                while remaining and (chunk := source.read(min(CHUNK_BYTES, remaining))):
                    remaining -= len(chunk)
                    yield chunk


def build_archive(directory: Path, archive_root: str, files: Sequence[CheckpointFile]) -> Archive:
    """Describe the tar of a checkpoint; its entries are `<archive_root>/<file name>`."""
    parts: list[bytes | Path] = []
    sizes: list[int] = []
    for file in files:
        info = tarfile.TarInfo(f"{archive_root}/{file.name}")
        info.size = file.size_bytes
        info.mode = 0o644
        header = info.tobuf(format=tarfile.PAX_FORMAT)
        padding = b"\0" * (-file.size_bytes % tarfile.BLOCKSIZE)
        parts += [header, directory / file.name, padding]
        sizes += [len(header), file.size_bytes, len(padding)]
    end = b"\0" * (2 * tarfile.BLOCKSIZE)
    return Archive(parts=(*parts, end), sizes=(*sizes, len(end)))
