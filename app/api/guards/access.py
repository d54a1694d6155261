"""Which scope each route needs, in one table, and the route class that demands it.

A route without a row cannot be made, so none can be forgotten. The check stands before the body is
read and before FastAPI is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from app.api.daemon import Daemon
from app.api.guards.body_limit import limit_body
from app.api.guards.write_slots import take_write_slot
from app.api.problems import problem_responses
from app.domain.access import Access, Scope
from app.services.tokens import OWNED, require_own

NEEDED: dict[str, Scope | None] = {
    "POST /v1/experiences": Scope.INGEST,
    "POST /v1/experiences/batch": Scope.INGEST,
    "POST /v1/instances/{slug}/wake": Scope.INGEST,
    "POST /v1/chat/completions": Scope.INGEST,
    "POST /v1/checkpoints/{checkpoint_id}/reports": Scope.REPORT,
    "GET /v1/experiences": Scope.READ,
    "GET /v1/experiences/{experience_id}": Scope.READ,
    "GET /v1/models": Scope.READ,
    "GET /v1/models/{model}": Scope.READ,
    "GET /v1/sleep-cycles": Scope.READ,
    "GET /v1/sleep-cycles/{cycle_id}": Scope.READ,
    "GET /v1/sleep-cycles/{cycle_id}/events": Scope.READ,
    "GET /v1/sleep-cycles/{cycle_id}/report": Scope.READ,
    "GET /v1/checkpoints": Scope.READ,
    "GET /v1/checkpoints/{checkpoint_id}": Scope.READ,
    "GET /v1/checkpoints/{checkpoint_id}/archive": Scope.READ,
    "GET /v1/checkpoints/{checkpoint_id}/experiences": Scope.READ,
    "GET /v1/checkpoints/{checkpoint_id}/files/{name}": Scope.READ,
    "GET /v1/checkpoints/{checkpoint_id}/reports": Scope.READ,
    "GET /v1/instances": Scope.READ,
    "GET /v1/instances/{slug}": Scope.READ,
    "GET /v1/instances/{slug}/aliases": Scope.READ,
    "GET /v1/instances/{slug}/aliases/history": Scope.READ,
    "GET /v1/instances/{slug}/cycle-figures": Scope.READ,
    "GET /v1/instances/{slug}/events": Scope.READ,
    "GET /v1/instances/{slug}/experience-summary": Scope.READ,
    "GET /v1/instances/{slug}/salience-distribution": Scope.READ,
    "GET /v1/instances/{slug}/mirror": Scope.READ,
    "GET /v1/instances/{slug}/sleep-decision": Scope.READ,
    "GET /stats": Scope.READ,
    "GET /metrics": Scope.READ,
    "POST /v1/sleep-cycles": Scope.OPERATE,
    "POST /v1/sleep-cycles/{cycle_id}/cancel": Scope.OPERATE,
    "PATCH /v1/checkpoints/{checkpoint_id}": Scope.OPERATE,
    "POST /v1/checkpoints/{checkpoint_id}/promote": Scope.OPERATE,
    "POST /v1/instances/{slug}/dismiss": Scope.OPERATE,
    "POST /v1/instances/{slug}/rollback": Scope.OPERATE,
    "POST /v1/instances/{slug}/rebuild": Scope.OPERATE,
    "POST /v1/instances/{slug}/push": Scope.OPERATE,
    "POST /v1/instances/{slug}/mirror/pull": Scope.OPERATE,
    "PUT /v1/instances/{slug}": Scope.ADMIN,
    "PATCH /v1/instances/{slug}": Scope.ADMIN,
    "GET /v1/webhooks": Scope.ADMIN,
    "POST /v1/webhooks": Scope.ADMIN,
    "GET /v1/webhooks/{webhook_id}": Scope.ADMIN,
    "PATCH /v1/webhooks/{webhook_id}": Scope.ADMIN,
    "DELETE /v1/webhooks/{webhook_id}": Scope.ADMIN,
    "POST /v1/webhooks/{webhook_id}/rotate": Scope.ADMIN,
    "POST /v1/webhooks/{webhook_id}/test": Scope.ADMIN,
    "GET /v1/webhooks/{webhook_id}/deliveries": Scope.ADMIN,
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/retry": Scope.ADMIN,
    "DELETE /v1/experiences/{experience_id}": Scope.ADMIN,
    "DELETE /v1/checkpoints/{checkpoint_id}": Scope.ADMIN,
    # Public: a load balancer asks the first two, and console and guide are pages without data.
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /": None,
    "GET /favicon.ico": None,
    "GET /console": None,
    "GET /console/{slug}": None,
    "GET /console/{slug}/{name}": None,
    "GET /console/{slug}/cycles/{cycle_id}": None,
    "GET /web/{name}": None,
    "GET /web/vendor/{name}": None,
    "GET /guide": None,
    "GET /guide/{name}": None,
}
"""What a caller's token must be for; None: anyone. HEAD needs what GET needs."""

COUNTED = frozenset({"/readyz", "/"})
"""Public routes that cost something, so that an address may not ask them without end."""

SAFE_METHODS = frozenset({"GET", "HEAD"})
QUEUED_BY_THE_WRITER = frozenset({"POST /v1/experiences", "POST /v1/chat/completions"})
"""Changes that wait in the ingest writer's own queue, which has a limit of its own."""

OWNED_PARAMETERS = frozenset({"slug", *OWNED})
OTHER_PARAMETERS = frozenset({"name", "model", "webhook_id", "delivery_id"})
"""Parameters of a path that name nothing of an instance by themselves; the route of a model, which
may be a checkpoint, asks for itself.

What webhooks are told may be of any instance, so no token that is bound to some may touch them.
"""

SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Made by `sage-sleep tokens create`. A daemon on loopback demands none until "
    "the first one is made.",
}


class GuardedRoute(APIRoute):
    """A route that asks for what the table says, and lets a bound token touch only its own."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods = set(options.get("methods") or {"GET"})
        self.needed = _needed(path, methods)
        if self.needed is not None:
            extra = options.get("openapi_extra") or {}
            options["openapi_extra"] = {**extra, "security": [{"token": [self.needed.value]}]}
            options["responses"] = {
                **problem_responses(
                    HTTPStatus.UNAUTHORIZED,
                    HTTPStatus.FORBIDDEN,
                    HTTPStatus.TOO_MANY_REQUESTS,
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ),
                **(options.get("responses") or {}),
            }
            if not methods <= SAFE_METHODS:
                options["responses"] |= problem_responses(
                    HTTPStatus.REQUEST_TIMEOUT,
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                )
                if not {f"{method} {path}" for method in methods} & QUEUED_BY_THE_WRITER:
                    slot = Depends(take_write_slot)
                    options["dependencies"] = [*(options.get("dependencies") or ()), slot]
        if path in COUNTED:
            refusal = problem_responses(HTTPStatus.TOO_MANY_REQUESTS)
            options["responses"] = {**(options.get("responses") or {}), **refusal}
        super().__init__(path, endpoint, **options)
        if unknown := set(self.param_convertors) - OWNED_PARAMETERS - OTHER_PARAMETERS:
            raise LookupError(f"{path}: whose {unknown} are, {__name__} does not know.")

    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let the caller in, or raise what keeps it out."""
        daemon: Daemon = scope["app"].state.daemon
        if self.path in COUNTED:
            daemon.admission.count(scope)
        if self.needed is not None and scope["method"] in (self.methods or ()):
            access = await daemon.admission.admit(scope, self.needed)
            if access.instances is not None:
                await _require_own(daemon, access, scope["path_params"])
            if access.max_body_bytes is not None:
                receive = limit_body(scope, receive, access.max_body_bytes)
            scope["access"] = access
        await super().handle(scope, receive, send)


async def get_access(request: Request) -> Access:
    """What the caller may do."""
    access: Access = request.scope["access"]
    return access


AccessDep = Annotated[Access, Depends(get_access)]


def _needed(path: str, methods: Iterable[str]) -> Scope | None:
    rows = {f"{'GET' if method == 'HEAD' else method} {path}" for method in methods}
    if missing := rows - set(NEEDED):
        raise LookupError(f"{missing} have no row in {__name__}: say which scope they need.")
    (needed,) = {NEEDED[row] for row in rows}
    return needed


async def _require_own(daemon: Daemon, access: Access, parameters: dict[str, str]) -> None:
    if "slug" in parameters:
        access.require_instance(parameters["slug"])
    for name in OWNED.keys() & parameters.keys():
        await run_in_threadpool(require_own, daemon.db, access, name, parameters[name])
