"""Files for a browser as they are sent: public, asked for again each time, mostly without a body.

Their policy lets in nothing inline and nothing of another host, so that a text from an exchange
stays a text whatever it holds. Must not know what any file is about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

from fastapi import Request, Response

from app.api.pages.report_page import report_style_source
from app.api.problems import respond_plainly

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served; other files beside them, such as licences, are for readers of the source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def make_web_file(content: bytes, suffix: str) -> WebFile:
    """Content with the media type of a suffix, such as `.css`, and its sha256 as entity tag."""
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    return WebFile(content=content, media_type=MEDIA_TYPES[suffix], etag=etag)


def send_web_file(request: Request, files: Mapping[str, WebFile], name: str) -> Response:
    """The file of that name, or that it did not change."""
    if name not in files:
        return respond_plainly(HTTPStatus.NOT_FOUND)
    file = files[name]
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", **protect(_policy())}
    known = request.headers.get("if-none-match", "")
    if file.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def protect(policy: str) -> dict[str, str]:
    """The headers that every page for a person is sent with, and its files."""
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


@cache
def _policy() -> str:
    """The style of a cycle's report is let in by its hash.

    With a token a report is fetched and opened as a blob, which takes over the console's policy.
    """
    return (
        f"default-src 'self'; style-src 'self' {report_style_source()}; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
