"""Errors as RFC 9457 problem details; the only place that knows which error is which status.

Every answer that is not a success has this shape, validation and unknown routes included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NotRequired

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, JsonValue, TypeAdapter, with_config
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from typing_extensions import TypedDict

from app import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:sage-sleep:problem:"
RETRY_AFTER_SECONDS = 1
CHAT_PATH = "/v1/chat/completions"
BODYLESS_METHODS = frozenset({"GET", "HEAD", "DELETE"})

STATUSES: Mapping[type[errors.SageSleepError], HTTPStatus] = {
    errors.InvalidSlug: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidPolicy: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidImportFile: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidToken: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ChatRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidWebhook: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TokenMissing: HTTPStatus.UNAUTHORIZED,
    errors.TokenRefused: HTTPStatus.UNAUTHORIZED,
    errors.ScopeMissing: HTTPStatus.FORBIDDEN,
    errors.InstanceForbidden: HTTPStatus.FORBIDDEN,
    errors.OriginForbidden: HTTPStatus.FORBIDDEN,
    errors.HostNotAllowed: HTTPStatus.MISDIRECTED_REQUEST,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.InstanceNotFound: HTTPStatus.NOT_FOUND,
    errors.ExperienceNotFound: HTTPStatus.NOT_FOUND,
    errors.SleepCycleNotFound: HTTPStatus.NOT_FOUND,
    errors.CheckpointNotFound: HTTPStatus.NOT_FOUND,
    errors.CheckpointFileNotFound: HTTPStatus.NOT_FOUND,
    errors.TokenNotFound: HTTPStatus.NOT_FOUND,
    errors.WebhookNotFound: HTTPStatus.NOT_FOUND,
    errors.WebhookDeliveryNotFound: HTTPStatus.NOT_FOUND,
    errors.WebhookDisabled: HTTPStatus.CONFLICT,
    errors.WebhooksTooMany: HTTPStatus.CONFLICT,
    errors.CursorNotFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.SourceIdConflict: HTTPStatus.CONFLICT,
    errors.ReportIdConflict: HTTPStatus.CONFLICT,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.SettingsUnusable: HTTPStatus.CONFLICT,
    errors.BaseModelUnnamed: HTTPStatus.CONFLICT,
    errors.BaseModelAbsent: HTTPStatus.CONFLICT,
    errors.SleepCycleActive: HTTPStatus.CONFLICT,
    errors.SleepNotDue: HTTPStatus.CONFLICT,
    errors.NothingToConsolidate: HTTPStatus.CONFLICT,
    errors.NothingToRebuildFrom: HTTPStatus.CONFLICT,
    errors.SleepCycleEnded: HTTPStatus.CONFLICT,
    errors.CheckpointNotPromotable: HTTPStatus.CONFLICT,
    errors.CheckpointInUse: HTTPStatus.CONFLICT,
    errors.NoPreviousCheckpoint: HTTPStatus.CONFLICT,
    errors.NoCandidate: HTTPStatus.CONFLICT,
    errors.CheckpointNotReproducible: HTTPStatus.CONFLICT,
    errors.ControlTooSmall: HTTPStatus.CONFLICT,
    errors.ExperimentActive: HTTPStatus.CONFLICT,
    errors.ExperienceInUse: HTTPStatus.CONFLICT,
    errors.AdapterNotExportable: HTTPStatus.CONFLICT,
    errors.BaseNotExportable: HTTPStatus.CONFLICT,
    errors.ExportBaseChanged: HTTPStatus.CONFLICT,
    errors.ExportNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ExportFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.MergeLosesLearning: HTTPStatus.CONFLICT,
    errors.ChatNotInstalled: HTTPStatus.CONFLICT,
    errors.BaseGgufAbsent: HTTPStatus.CONFLICT,
    errors.ChatEngineFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ChatOverloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RuntimeRefuses: HTTPStatus.CONFLICT,
    errors.RuntimeUnavailable: HTTPStatus.CONFLICT,
    errors.BaseDiffers: HTTPStatus.CONFLICT,
    errors.CheckpointHere: HTTPStatus.CONFLICT,
    errors.NothingToJudgeBy: HTTPStatus.CONFLICT,
    errors.TemplateNotTranslatable: HTTPStatus.CONFLICT,
    errors.AliasesChanged: HTTPStatus.PRECONDITION_FAILED,
    errors.ClockDoubted: HTTPStatus.CONFLICT,
    errors.BackupTargetInUse: HTTPStatus.CONFLICT,
    errors.DataDirectoryNotEmpty: HTTPStatus.CONFLICT,
    errors.DatabaseNotEmpty: HTTPStatus.CONFLICT,
    errors.CycleOwnershipLost: HTTPStatus.CONFLICT,
    errors.BaseModelNotFound: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.BaseModelMismatch: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.BaseModelUnsupported: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ModelDownloadFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DeviceUnavailable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DeviceFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ChatTemplateMissing: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ChatTemplateRefuses: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ExchangeTooLong: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NoSupervisedTokens: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NothingFits: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.FitUnknown: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NoTrainableParameters: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.TargetModulesUnmatched: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.NonFiniteLoss: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.TrainingSetUnreadable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.TrainingStopped: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.CheckpointFilesMissing: HTTPStatus.GONE,
    errors.CheckpointFilesAltered: HTTPStatus.GONE,
    errors.CheckpointFilesUnreadable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.CheckpointDamaged: HTTPStatus.GONE,
    errors.BackupUnusable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.AddressUnguarded: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.PairMismatched: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.CheckpointsNotThere: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.CertificateUnusable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.IngestOverloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.WritesOverloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseLocked: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseCorrupt: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseFull: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DiskFull: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DirectoryReadOnly: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseNotMigrated: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseCopyDiffers: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.DatabaseInUse: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DataDirectoryInUse: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""A row for every error that is raised. Training errors happen in the child, never in a request;
should one get here, it is the daemon's fault."""

CHALLENGES: Mapping[type[errors.SageSleepError], str] = {
    errors.TokenMissing: "",
    errors.TokenRefused: 'error="invalid_token"',
    errors.ScopeMissing: 'error="insufficient_scope"',
    errors.InstanceForbidden: 'error="insufficient_scope"',
}
"""What WWW-Authenticate says of an error (RFC 6750); others need no other token."""


SENTENCES: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON in UTF-8, or is nested too deep, or "
    "holds a number too long to read.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time; send it again, or in parts.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Send the body as JSON with the header "
    "Content-Type: application/json.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address; /docs lists what there is.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than this daemon accepts; "
    "split the batch.",
}
"""What is wrong and what to do, where a status of HTTP's own says it all."""


EXAMPLE: dict[str, JsonValue] = {
    "type": "urn:sage-sleep:problem:invalid-request",
    "title": "Invalid request",
    "status": 422,
    "detail": "/prompt: must hold more than white space",
    "errors": [{"detail": "must hold more than white space", "pointer": "/prompt"}],
}


_SCHEMAS = "#/components/schemas/{model}"


@with_config(ConfigDict(extra="ignore"))
class ProblemDetail(TypedDict):
    """One thing that is wrong with a request: in the body (pointer) or in a parameter."""

    detail: str
    pointer: NotRequired[str]
    parameter: NotRequired[str]


@with_config(ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]}))
class Problem(TypedDict):
    """RFC 9457 problem details; further members hold ids and numbers of the case."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[ProblemDetail]]
    instance: NotRequired[str]
    experience_id: NotRequired[str]
    sleep_cycle_id: NotRequired[str]


def problem_responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the errors a route can answer with."""
    return {
        status.value: {
            "description": status.phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}},
        }
        for status in statuses
    }


def problem_schemas() -> dict[str, Any]:
    """The schemas of a problem document's parts, by name.

    They are put into the OpenAPI document once: named as `model` in each of the hundreds of
    entries, the daemon would build as many validators, which nobody calls, at its start.
    """
    schema = TypeAdapter(Problem).json_schema(mode="serialization", ref_template=_SCHEMAS)
    parts: dict[str, Any] = schema.pop("$defs")
    return {**parts, "Problem": schema}


def problem_of(error: errors.SageSleepError) -> dict[str, Any]:
    """An error as the members of a problem document."""
    status = STATUSES[type(error)]
    problem: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": error.code.replace("-", " ").capitalize(),
        "status": status.value,
        "detail": error.message,
        **error.facts,
    }
    if error.pointer is not None:
        problem["errors"] = [{"detail": error.message, "pointer": error.pointer}]
    return problem


def validation_problem(details: Sequence[Any]) -> dict[str, Any]:
    """Pydantic's findings as a problem document; never with the input itself."""
    found = [_detail(item) for item in details]
    return {
        "type": TYPE_PREFIX + "invalid-request",
        "title": "Invalid request",
        "status": HTTPStatus.UNPROCESSABLE_ENTITY.value,
        "detail": "; ".join(
            f"{item.get('pointer') or item.get('parameter') or 'body'}: {item['detail']}"
            for item in found[:3]
        ),
        "errors": found,
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of an application a problem document."""
    app.add_exception_handler(errors.SageSleepError, _on_sage_sleep_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)


def respond_with(error: errors.SageSleepError) -> JSONResponse:
    """An error as an answer, for middleware, which stands outside of the handlers."""
    return _respond(problem_of(error), _headers_of(error))


def respond_plainly(status: HTTPStatus) -> JSONResponse:
    """A status of HTTP's own as an answer, with the sentence that goes with it."""
    return _respond(_plain(status, SENTENCES[status]))


def _headers_of(error: errors.SageSleepError) -> dict[str, str] | None:
    """What else an error's answer says: what token would do, or when to come back."""
    challenge = CHALLENGES.get(type(error))
    if challenge is not None:
        scope = f', scope="{error.facts["scope"]}"' if "scope" in error.facts else ""
        parts = f'realm="sage-sleep"{", " if challenge else ""}{challenge}{scope}'
        return {"WWW-Authenticate": f"Bearer {parts}"}
    if STATUSES[type(error)] is HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if isinstance(error, errors.TooManyRequests):
        return {"Retry-After": str(error.facts.get("retry_after_seconds", RETRY_AFTER_SECONDS))}
    return None


def _respond(problem: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        dict(problem), status_code=problem["status"], media_type=MEDIA_TYPE, headers=headers
    )


def _on_sage_sleep_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.SageSleepError):
        raise error
    problem = problem_of(error)
    if request.method in BODYLESS_METHODS and error.pointer is not None:
        parameter = error.pointer.removeprefix("/")
        problem["errors"] = [{"detail": error.message, "parameter": parameter}]
    return _respond(_as_its_clients_read(request, problem), _headers_of(error))


def _as_its_clients_read(request: Request, problem: dict[str, Any]) -> dict[str, Any]:
    """With what OpenAI's clients show of an error, where they ask."""
    if request.url.path != CHAT_PATH:
        return problem
    code = problem["type"].removeprefix(TYPE_PREFIX)
    return {**problem, "error": {"message": problem["detail"], "type": code, "code": code}}


def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    details = error.errors()
    if any(item["type"] == "json_invalid" for item in details):
        position = next(item["loc"][-1] for item in details if item["type"] == "json_invalid")
        return _respond(
            _plain(HTTPStatus.BAD_REQUEST, f"The body is not valid JSON at byte {position}.")
        )
    content_type = request.headers.get("content-type", "")
    if "json" not in content_type and any(item["loc"] == ("body",) for item in details):
        return respond_plainly(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return _respond(_as_its_clients_read(request, validation_problem(details)))


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    headers = error.headers
    if status is HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods_of(request)):
        headers = {"Allow": ", ".join(sorted(methods))}
    return _respond(_plain(status, SENTENCES.get(status, str(error.detail))), headers)


def _methods_of(request: Request) -> set[str]:
    """What the document says can be asked of an address; Starlette names one route's methods."""
    path, documented = request.url.path, request.app.openapi()["paths"]
    found = (
        [documented[path]]
        if path in documented
        else [
            operations
            for template, operations in documented.items()
            if compile_path(template)[0].match(path)
        ]
    )
    return {method.upper() for operations in found for method in operations}


def _on_unexpected(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the error itself, through app.log, which drops its message; and it closes the
    # connection, which a client that keeps it must be told.
    return _respond(
        _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "An unexpected error; the daemon's log has it."),
        {"Connection": "close"},
    )


def _plain(status: HTTPStatus, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}


def _detail(item: Mapping[str, Any]) -> dict[str, Any]:
    where, *path = item["loc"] or ("body",)
    message = str(item["msg"]).removeprefix("Value error, ")
    if where == "body":
        parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
        return {"detail": message, "pointer": "".join(f"/{part}" for part in parts)}
    return {"detail": message, "parameter": ".".join(str(part) for part in path)}
