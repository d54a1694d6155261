"""The operator's console: a page for each view, and their files, all of them this daemon's own.

The pages hold no data, so they are public; what a page shows it asks of the API, with a token where
one is demanded. So none of them knows whether the instance or the cycle of its address is there.

Files stand below `/web`, since any name below `/console` may be an instance's.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import PurePath
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.api.guards.access import GuardedRoute
from app.api.pages.web_files import MEDIA_TYPES, WebFile, make_web_file, send_web_file

PARTS = frozenset({"cycles", "checkpoints", "exchanges", "chat", "events", "settings"})
"""Views of an instance beside the first one, `glance`; `cycle` shows one of its cycles."""

_FRAME = "frame.html"

router = APIRouter(tags=["operations"], route_class=GuardedRoute, include_in_schema=False)


@router.get("/")
async def get_console(request: Request, instance: str | None = None) -> Response:
    """The operator's console; an instance was named in the query once, and still leads there."""
    if instance:
        return RedirectResponse(f"/console/{quote(instance, safe='')}", HTTPStatus.FOUND)
    return _send_page(request, "fleet")


@router.get("/console")
async def get_fleet(request: Request) -> Response:
    """Every instance at a glance."""
    return _send_page(request, "fleet")


@router.get("/console/{slug}")
async def get_glance(request: Request) -> Response:
    """One instance at a glance."""
    return _send_page(request, "glance")


@router.get("/console/{slug}/{name}")
async def get_part(name: str, request: Request) -> Response:
    """One of the other views of an instance."""
    return _send_page(request, name if name in PARTS else "")


@router.get("/console/{slug}/cycles/{cycle_id}")
async def get_cycle_page(request: Request) -> Response:
    """One cycle of an instance."""
    return _send_page(request, "cycle")


@router.get("/web/{name}")
async def get_console_file(name: str, request: Request) -> Response:
    """A script, style or picture of the console."""
    return send_web_file(request, _files("console"), name)


@router.get("/favicon.ico")
async def get_icon(request: Request) -> Response:
    """The picture that browsers ask for beside whatever else they show of this daemon."""
    return send_web_file(request, _files("console"), "icon.svg")


@router.get("/web/vendor/{name}")
async def get_vendored_file(name: str, request: Request) -> Response:
    """A library of the console."""
    return send_web_file(request, _files("vendor"), name)


def _send_page(request: Request, view: str) -> Response:
    return send_web_file(request, _pages(), view)


@cache
def _pages() -> dict[str, WebFile]:
    """The page of each view by its name: the frame, with the view's own part and script in it."""
    directory = resources.files("app.web.console")
    frame = (directory / _FRAME).read_text(encoding="utf-8")
    pages = {}
    for view in ("fleet", "glance", "cycle", *PARTS):
        part = (directory / f"{view}.html").read_text(encoding="utf-8")
        html = frame.replace("{{ view }}", view).replace("{{ part }}", part)
        pages[view] = make_web_file(html.encode(), ".html")
    return pages


@cache
def _files(directory: str) -> dict[str, WebFile]:
    """All that is served of a directory, by name, read once; a request only chooses among them."""
    found = {}
    for file in (resources.files("app.web") / directory).iterdir():
        suffix = PurePath(file.name).suffix
        if suffix in MEDIA_TYPES and suffix != ".html":
            found[file.name] = make_web_file(file.read_bytes(), suffix)
    return found
