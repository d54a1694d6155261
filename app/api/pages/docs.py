"""The API's own pages at /docs: Swagger UI from this machine, without a request to another host.

FastAPI's default page loads its scripts from a content delivery network: nothing where there is no
internet, and elsewhere a stranger's script on the origin where the console keeps its token.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_FILES = "/docs/files"


def install_docs(app: FastAPI) -> None:
    """Serve /docs; the application itself is made without `docs_url` and `redoc_url`."""

    async def show(request: Request) -> Response:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_FILES}/favicon-32x32.png",
        )

    app.mount(_FILES, StaticFiles(packages=[("fastapi_swagger", "resources")]))
    app.add_route("/docs", show, include_in_schema=False)
