"""The operator's console: one page and its files, all of them this daemon's own.

They hold no data, so they are public; what the page shows it asks of the API, with a token where
one is demanded. Must not know what an instance is.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import PurePath

from fastapi import APIRouter, Request, Response

from app.api.guards.access import GuardedRoute
from app.api.pages.web_files import MEDIA_TYPES, WebFile, make_web_file, send_web_file

router = APIRouter(tags=["operations"], route_class=GuardedRoute, include_in_schema=False)


@router.get("/")
async def get_console(request: Request) -> Response:
    """The operator's console."""
    return send_web_file(request, _files("console"), "index.html")


@router.get("/console/{name}")
async def get_console_file(name: str, request: Request) -> Response:
    """A script, style or picture of the console."""
    return send_web_file(request, _files("console"), name)


@router.get("/favicon.ico")
async def get_icon(request: Request) -> Response:
    """The picture that browsers ask for beside whatever else they show of this daemon."""
    return send_web_file(request, _files("console"), "icon.svg")


@router.get("/console/vendor/{name}")
async def get_vendored_file(name: str, request: Request) -> Response:
    """A library of the console."""
    return send_web_file(request, _files("vendor"), name)


@cache
def _files(directory: str) -> dict[str, WebFile]:
    """All that is served of a directory, by name, read once; a request only chooses among them."""
    found = {}
    for file in (resources.files("app.web") / directory).iterdir():
        suffix = PurePath(file.name).suffix
        if suffix in MEDIA_TYPES:
            found[file.name] = make_web_file(file.read_bytes(), suffix)
    return found
