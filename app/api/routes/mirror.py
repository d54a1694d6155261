"""/v1/instances/{slug}/mirror: what other machines have learned, and adopting it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from app.api.answers.sleep_cycles import cycle_out
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import IdempotencyKey, Now
from app.api.problems import problem_responses
from app.api.schemas import MirroredOut, MirrorOut, PullIn, SleepCycleOut

router = APIRouter(prefix="/v1/instances", tags=["instances"], route_class=GuardedRoute)


@router.get(
    "/{slug}/mirror", responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
)
def get_mirror(slug: str, daemon: DaemonDep, access: AccessDep) -> MirrorOut:
    """What lies in the mirror that SAGE_MIRROR names, which of it fits, and which is here."""
    view = daemon.look_at_mirror(slug, within=access.instances)
    return MirrorOut(
        instance=slug,
        remote=view.remote,
        pushed=view.is_pushed,
        waiting=view.state.waiting,
        fault=view.state.fault,
        failed_at=view.state.failed_at,
        checkpoints=[MirroredOut.model_validate(one) for one in view.checkpoints],
        has_more=view.is_cut,
    )


@router.post(
    "/{slug}/mirror/pull",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
)
def pull_from_mirror(
    slug: str,
    body: PullIn,
    response: Response,
    daemon: DaemonDep,
    access: AccessDep,
    now: Now,
    key: IdempotencyKey = None,
) -> SleepCycleOut:
    """Queue a cycle that pulls a checkpoint of the same base and has the gate judge it here.

    It trains nothing: the adapter is measured as it is, on the instance's held-out exchanges, and
    published under an id of this machine's (`plan.adopted_from` says where it comes from).
    """
    cycle = daemon.pull_from_mirror(
        slug, body.checkpoint, within=access.instances, idempotency_key=key, now=now
    )
    daemon.on_queued()
    response.headers["Location"] = f"/v1/sleep-cycles/{cycle.id}"
    return cycle_out(cycle, slug, None)
