"""Sending checkpoint files: entity tags, byte ranges, and archives that exist only on the wire."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from app.artifacts import Archive
from app.errors import CheckpointFilesMissing

CACHE_CONTROL = "private, max-age=31536000, immutable"
"""A checkpoint's files never change under their name."""

_SINGLE_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def send_file(request: Request, path: Path, *, sha256: str, media_type: str) -> Response:
    """Send one file with its sha256 as strong entity tag; ranges and If-None-Match included.

    Raises: CheckpointFilesMissing.
    """
    headers = {"ETag": f'"{sha256}"', "Cache-Control": CACHE_CONTROL}
    if _is_known(request, sha256):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if not path.is_file():
        raise CheckpointFilesMissing(f"{path.name} is gone from the disk.", file=path.name)
    return FileResponse(path, media_type=media_type, headers=headers)


def send_archive(request: Request, archive: Archive, *, filename: str, sha256: str) -> Response:
    """Stream a tar that is put together while it is sent; one byte range is honoured."""
    size = archive.size_bytes
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": CACHE_CONTROL,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if _is_known(request, sha256):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    wanted = _read_range(request, size, sha256)
    if wanted is None:
        start, end, status = 0, size, HTTPStatus.OK
    elif wanted[0] >= wanted[1]:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    else:
        (start, end), status = wanted, HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/x-tar")
    return StreamingResponse(
        archive.read(start, end),
        status_code=status,
        headers=headers,
        media_type="application/x-tar",
    )


def _is_known(request: Request, sha256: str) -> bool:
    tags = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in {f'"{sha256}"', "*"} for tag in tags.split(","))


def _read_range(request: Request, size: int, sha256: str) -> tuple[int, int] | None:
    """The wanted bytes as start and end; None for all of them, as RFC 9110 allows for the rest."""
    match = _SINGLE_RANGE.match(request.headers.get("range", ""))
    condition = request.headers.get("if-range", f'"{sha256}"')
    if match is None or match.group() == "bytes=-" or condition != f'"{sha256}"':
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
