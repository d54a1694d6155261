"""The API's own pages at /docs: Swagger UI from this machine, without a request to another host.

FastAPI's default page loads its scripts from a content delivery network: nothing where there is no
internet, and elsewhere a stranger's script on the origin where the console keeps its token. Its own
script stands in the page, which a strict policy keeps out; so page and script are ours.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.api.pages.web_files import WebFile, make_web_file, protect, send_web_file

_FILES = "/docs/files"
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""As the other pages' policy; Swagger UI's style sheet holds its icons as data."""


class _ProtectedFiles(StaticFiles):
    """Swagger UI's files with the headers of the page they are part of."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or that it did not change."""
        response = await super().get_response(path, scope)
        response.headers.update(protect(POLICY))
        return response


def install_docs(app: FastAPI) -> None:
    """Serve /docs; the application itself is made without `docs_url` and `redoc_url`."""

    async def show(request: Request) -> Response:
        response = send_web_file(request, _pages(), "index.html")
        response.headers.update(protect(POLICY))
        return response

    app.mount(_FILES, _ProtectedFiles(packages=[("fastapi_swagger", "resources")]))
    app.add_route("/docs", show, include_in_schema=False)


@cache
def _pages() -> dict[str, WebFile]:
    page = resources.files("app.web") / "docs.html"
    return {"index.html": make_web_file(page.read_bytes(), ".html")}
