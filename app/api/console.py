"""The operator's console: one page and its files, all of them this daemon's own.

They hold no data, so they are public; what the page shows it asks of the API, with a token where
one is demanded. Its policy lets in nothing inline and nothing of another host, so that a text from
an exchange stays a text whatever it holds. Must not know what an instance is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import PurePath

from fastapi import APIRouter, Request, Response

from app.api.access import GuardedRoute
from app.api.problems import respond_plainly
from app.api.report_page import report_style_source

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served; other files beside them, such as licences, are for readers of the source."""

router = APIRouter(tags=["operations"], route_class=GuardedRoute, include_in_schema=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


@router.get("/")
async def get_console(request: Request) -> Response:
    """The operator's console."""
    return _answer(request, _files("console"), "index.html")


@router.get("/console/{name}")
async def get_console_file(name: str, request: Request) -> Response:
    """A script, style or picture of the console."""
    return _answer(request, _files("console"), name)


@router.get("/favicon.ico")
async def get_icon(request: Request) -> Response:
    """The picture that browsers ask for beside whatever else they show of this daemon."""
    return _answer(request, _files("console"), "icon.svg")


@router.get("/console/vendor/{name}")
async def get_vendored_file(name: str, request: Request) -> Response:
    """A library of the console."""
    return _answer(request, _files("vendor"), name)


def _answer(request: Request, files: Mapping[str, ConsoleFile], name: str) -> Response:
    """The file, or that it did not change; a browser asks every time, and mostly gets no body."""
    if name not in files:
        return respond_plainly(HTTPStatus.NOT_FOUND)
    file = files[name]
    headers = {
        "ETag": file.etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _policy(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    known = request.headers.get("if-none-match", "")
    if file.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@cache
def _policy() -> str:
    """The style of a cycle's report is let in by its hash.

    With a token a report is fetched and opened as a blob, which takes over this page's policy.
    """
    return (
        f"default-src 'self'; style-src 'self' {report_style_source()}; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@cache
def _files(directory: str) -> dict[str, ConsoleFile]:
    """All that is served of a directory, by name, read once; a request only chooses among them."""
    found = {}
    for file in (resources.files("app.web") / directory).iterdir():
        if media_type := MEDIA_TYPES.get(PurePath(file.name).suffix):
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            found[file.name] = ConsoleFile(content=content, media_type=media_type, etag=etag)
    return found
