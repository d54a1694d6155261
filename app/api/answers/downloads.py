"""Sending checkpoint files and archives: entity tags, byte ranges, nothing read before it is asked.

One way for both: a file is an archive of one part. Starlette's FileResponse answers a bad range in
plain text and knows no archive that lies in parts.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from app.api.problems import problem_responses
from app.artifacts.archive import Archive

CACHE_CONTROL = "private, max-age=31536000, immutable"
"""A checkpoint's files never change under their name."""

_TAG = f'"{hashlib.sha256(b"").hexdigest()}"'
"""An entity tag to show."""

DOWNLOAD_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": words,
        "schema": {"type": "string"},
        "example": example,
    }
    for name, words, example in (
        ("Range", "One range of bytes; anything else is answered as if it were not there.",
         "bytes=1048576-"),
        ("If-Range", "The ETag of the part that is there already.", _TAG),
        ("If-None-Match", "The ETag of what is there already.", _TAG),
    )
]  # fmt: skip
"""What FastAPI does not see of these requests, for a route's `openapi_extra`."""


def download_responses(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of what `send` answers with content of these types."""
    content: dict[str, Any] = {media_type: {} for media_type in media_types}
    whole = {
        "ETag": _header("The sha256 of the whole.", _TAG),
        "Cache-Control": _header("It never changes.", CACHE_CONTROL),
        "Accept-Ranges": _header("Ranges are served.", "bytes"),
    }
    sent = {
        **whole,
        "Content-Disposition": _header("What to call it.", 'attachment; filename="NAME"'),
        "Content-Length": _header("Bytes of this answer.", "19556352"),
    }
    part = {
        **sent,
        "Content-Range": _header("Which bytes these are.", "bytes 1048576-19556351/19556352"),
    }
    unsatisfiable = problem_responses(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    for answer in unsatisfiable.values():
        answer["headers"] = {"Content-Range": _header("How many there are.", "bytes */19556352")}
    return {
        200: {"description": "All of it.", "content": content, "headers": sent},
        206: {"description": "The range that was asked for.", "content": content, "headers": part},
        304: {"description": "The content of If-None-Match is the newest.", "headers": whole},
        **unsatisfiable,
    }


def _header(words: str, example: str) -> dict[str, Any]:
    return {"description": words, "schema": {"type": "string"}, "example": example}


_SINGLE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


def send(
    request: Request, content: Archive, *, filename: str, sha256: str, media_type: str
) -> Response:
    """Stream content with its sha256 as strong entity tag; one byte range is honoured.

    Raises: CheckpointFilesMissing before the first byte; HTTPException (416).
    """
    size = content.size_bytes
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": CACHE_CONTROL,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if _is_known(request, sha256):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content.check_present()
    start, end, status = 0, size, HTTPStatus.OK
    if (wanted := _read_range(request, size, sha256)) is not None:
        start, end = wanted
        if start >= end:
            raise HTTPException(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                f"There are {size} bytes; the range lies behind them.",
                headers={"Content-Range": f"bytes */{size}"},
            )
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(
        content.read(start, end), status_code=status, headers=headers, media_type=media_type
    )


def _is_known(request: Request, sha256: str) -> bool:
    tags = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in {f'"{sha256}"', "*"} for tag in tags.split(","))


def _read_range(request: Request, size: int, sha256: str) -> tuple[int, int] | None:
    """The wanted bytes as start and end; None for all of them, as RFC 9110 allows for the rest."""
    match = _SINGLE_RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range", f'"{sha256}"')
    if match is None or condition != f'"{sha256}"':
        return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
