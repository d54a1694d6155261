"""The OpenAPI document: what FastAPI writes of the routes, and what stands around them answers.

Middleware and the handlers of `app.api.problems` answer for every route; no route says so itself.
Examples of bodies stand beside their models; those of answers were recorded of a real daemon
(`python -m tests.record_examples` does it again).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from importlib import resources
from typing import Any

from fastapi import FastAPI

from app.api.guards.access import SECURITY_SCHEME
from app.api.problems import MEDIA_TYPE, problem_responses, problem_schemas

_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete"})
_UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")


def install_document(app: FastAPI) -> None:
    """Let an application's document say what stands around its routes, too."""
    write = app.openapi

    def write_all() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete(write())
        return write()

    app.openapi = write_all  # type: ignore[method-assign]  # as FastAPI's own guide does it


def complete(schema: dict[str, Any]) -> None:
    """Add to FastAPI's document what it does not know; in place."""
    components = schema["components"]
    components["securitySchemes"] = {"token": SECURITY_SCHEME}
    for name in _UNUSED_SCHEMAS:
        components["schemas"].pop(name, None)
    components["schemas"] |= problem_schemas()
    recorded = json.loads((resources.files("app.api") / "examples.json").read_text("utf-8"))
    for method, path, operation in _operations(schema):
        responses = operation["responses"]
        wanted = [HTTPStatus.MISDIRECTED_REQUEST]
        if "422" in responses:
            wanted.append(HTTPStatus.UNPROCESSABLE_ENTITY)
        if "requestBody" in operation:
            wanted.append(HTTPStatus.BAD_REQUEST)
        responses |= {str(status): answer for status, answer in problem_responses(*wanted).items()}
        for status, answer in responses.items():
            if MEDIA_TYPE in answer.get("content", ()):
                answer["content"] = {MEDIA_TYPE: answer["content"][MEDIA_TYPE]}
            shown = recorded.pop(f"{method.upper()} {path} {status}", {})
            for media_type, value in shown.items():
                answer["content"][media_type]["examples"] = {"recorded": {"value": value}}


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                yield method, path, operation
