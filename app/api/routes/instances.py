"""/v1/instances: settings of an instance, its aliases, its decision to sleep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.answers.checkpoints import alias_move_out, aliases_out
from app.api.answers.event_stream import EVENT_RESPONSES, EVENT_STREAM, list_events, stream_events
from app.api.answers.instances import instance_out
from app.api.answers.sleep_cycles import cycle_figures_out, cycle_out
from app.api.daemon import DaemonDep
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.parameters import (
    MAX_INTEGER,
    Accept,
    Cursor,
    ExpectedRevisions,
    IdempotencyKey,
    LastEventId,
    Limit,
    Now,
)
from app.api.problems import problem_responses
from app.api.schemas import (
    AliasesOut,
    AliasMoveOut,
    CycleFiguresOut,
    DismissIn,
    EventOut,
    ExperienceSummaryOut,
    InstanceIn,
    InstanceOut,
    ListOut,
    PushIn,
    PushOut,
    RebuildIn,
    RollbackIn,
    SalienceDistributionOut,
    SleepCycleOut,
    WakeIn,
    WakeOut,
)
from app.db.events import EventFilter
from app.db.tables import EventRow
from app.domain.decision import SleepDecision
from app.domain.exchange import SLUG_PATTERN
from app.services import cycles, decisions, experiences, instances, promotion, sleep, waking

router = APIRouter(prefix="/v1/instances", tags=["instances"], route_class=GuardedRoute)


@router.get("", response_model_exclude_unset=True)
def list_instances(daemon: DaemonDep, access: AccessDep) -> ListOut[InstanceOut]:
    """List all instances, by slug."""
    found = instances.list_instances(daemon.db, within=access.instances)
    data = [instance_out(item) for item in found]
    return ListOut(data=data, has_more=False, next=None)


@router.get(
    "/{slug}",
    response_model_exclude_unset=True,
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
def get_instance(slug: str, daemon: DaemonDep) -> InstanceOut:
    """One instance, with every default filled in."""
    return instance_out(instances.get_instance(daemon.db, slug))


@router.put(
    "/{slug}",
    response_model_exclude_unset=True,
    responses={201: {"description": "Created.", "model": InstanceOut}},
)
def put_instance(
    slug: Annotated[str, Path(pattern=SLUG_PATTERN, description="<machine>-<model>")],
    response: Response,
    daemon: DaemonDep,
    now: Now,
    body: InstanceIn | None = None,
) -> InstanceOut:
    """Create an instance or replace its settings; what is left out follows the daemon's."""
    wanted = body or InstanceIn()
    values = {
        "base_model": wanted.base_model,
        "model_name": wanted.model_name,
        "system_prompt": wanted.system_prompt,
        "timezone": wanted.timezone,
        "policy": wanted.policy.model_dump(mode="json", exclude_none=True),
        "recipe": wanted.recipe.model_dump(mode="json", exclude_none=True),
    }
    instance, is_new = instances.put_instance(daemon.db, slug, values, now=now)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return instance_out(instance)


@router.patch(
    "/{slug}",
    response_model_exclude_unset=True,
    responses=problem_responses(HTTPStatus.NOT_FOUND),
)
def patch_instance(slug: str, body: InstanceIn, daemon: DaemonDep, now: Now) -> InstanceOut:
    """Change single settings; what is left out stays, and null takes one back to the daemon's."""
    changes = body.model_dump(mode="json", exclude_unset=True)
    return instance_out(instances.patch_instance(daemon.db, slug, changes, now=now))


@router.get("/{slug}/experience-summary", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_experience_summary(
    slug: str, daemon: DaemonDep, min_salience: Annotated[float, Query(ge=0, le=1)] = 0.7
) -> ExperienceSummaryOut:
    """How many experiences counted, how salient they are, and since when."""
    found = experiences.summarise_experiences(daemon.db, slug, min_salience=min_salience)
    return ExperienceSummaryOut(**asdict(found), instance=slug, min_salience=min_salience)


@router.get("/{slug}/salience-distribution", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_salience_distribution(
    slug: str, daemon: DaemonDep, newest: Annotated[int, Query(ge=1, le=5000)] = 1000
) -> SalienceDistributionOut:
    """How many of the newest experiences fall into each tenth of salience, by dimension."""
    found = experiences.distribute_salience(daemon.db, slug, newest=newest)
    return SalienceDistributionOut(**asdict(found), instance=slug)


@router.get("/{slug}/cycle-figures", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_cycle_figures(
    slug: str, daemon: DaemonDep, cursor: Cursor = None, limit: Limit = 50
) -> ListOut[CycleFiguresOut]:
    """What each cycle learned and kept, newest first; a cycle's own route has the rest."""
    page, checkpoint_ids, _ = cycles.list_cycles(
        daemon.db, instance=slug, status=None, cursor=cursor, limit=limit
    )
    return ListOut(
        data=[cycle_figures_out(row, checkpoint_ids.get(row.id)) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{slug}/aliases", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_aliases(slug: str, response: Response, daemon: DaemonDep) -> AliasesOut:
    """Which checkpoint each alias names; the ETag is for If-Match on promote and rollback."""
    view = promotion.get_aliases(daemon.db, slug)
    return aliases_out(view, response)


@router.get("/{slug}/aliases/history", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_alias_history(
    slug: str,
    daemon: DaemonDep,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="`next` of the page before.")
    ] = None,
    limit: Limit = 50,
) -> ListOut[AliasMoveOut]:
    """Every move of the aliases, newest first: from, to, by whom, why."""
    rows = promotion.list_alias_history(daemon.db, slug, before_seq=cursor, limit=limit)
    data = [alias_move_out(row) for row in rows[:limit]]
    has_more = len(rows) > limit
    return ListOut(data=data, has_more=has_more, next=str(data[-1].id) if has_more else None)


@router.post(
    "/{slug}/rollback",
    responses=problem_responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED
    ),
)
def rollback_instance(
    slug: str,
    response: Response,
    daemon: DaemonDep,
    now: Now,
    expected_revisions: ExpectedRevisions,
    body: RollbackIn | None = None,
) -> AliasesOut:
    """Take `current` one promotion back; again and again, down to the bare base model."""
    wanted = body or RollbackIn()
    view = promotion.rollback(
        daemon.db,
        slug,
        guard=daemon.guard,
        actor=wanted.actor,
        reason=wanted.reason,
        expected_revisions=expected_revisions,
        now=now,
    )
    return aliases_out(view, response)


@router.post(
    "/{slug}/dismiss",
    responses=problem_responses(
        HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED
    ),
)
def dismiss_candidate(
    slug: str,
    response: Response,
    daemon: DaemonDep,
    now: Now,
    expected_revisions: ExpectedRevisions,
    body: DismissIn | None = None,
) -> AliasesOut:
    """Refuse the `candidate`: its experiences go back to the buffer with an attempt counted."""
    wanted = body or DismissIn()
    view = promotion.dismiss_candidate(
        daemon.db,
        slug,
        actor=wanted.actor,
        reason=wanted.reason,
        expected_revisions=expected_revisions,
        now=now,
    )
    return aliases_out(view, response)


@router.post(
    "/{slug}/rebuild",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ),
)
def rebuild_instance(
    slug: str,
    response: Response,
    daemon: DaemonDep,
    now: Now,
    body: RebuildIn | None = None,
    key: IdempotencyKey = None,
) -> SleepCycleOut:
    """Queue a cycle from the base over what is still consolidated; the gate judges it as ever."""
    wanted = body or RebuildIn()
    cycle = sleep.request_rebuild(
        daemon.db,
        slug,
        actor=wanted.actor,
        reason=wanted.reason,
        idempotency_key=key,
        now=now,
    )
    daemon.on_queued()
    response.headers["Location"] = f"/v1/sleep-cycles/{cycle.id}"
    return cycle_out(cycle, slug, None)


@router.post(
    "/{slug}/push",
    responses=problem_responses(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
def push_instance(slug: str, body: PushIn, daemon: DaemonDep) -> PushOut:
    """Bring what is live into a runtime beside the daemon.

    Into the Ollama at SAGE_OLLAMA_URL as `<instance>:latest`, 503 with Retry-After while the model
    is being made; into the vLLM at SAGE_VLLM_URL as `<instance>@<cycle>`.
    """
    brought = daemon.pushes[body.runtime](slug)
    return PushOut(
        instance=slug,
        runtime=body.runtime,
        model=brought.model,
        checkpoint_id=brought.checkpoint_id,
    )


@router.post("/{slug}/wake", responses=problem_responses(HTTPStatus.NOT_FOUND))
def wake_instance(slug: str, daemon: DaemonDep, now: Now, body: WakeIn | None = None) -> WakeOut:
    """Let its cycle make way, as a snapshot, until the instance is idle again."""
    wanted = body or WakeIn()
    woken = waking.wake(daemon.db, slug, actor=wanted.actor, now=now)
    return WakeOut(
        instance=slug,
        sleep_cycle_id=woken.cycle_id,
        was_running=woken.was_running,
        idle_seconds=woken.idle_seconds,
    )


@router.get(
    "/{slug}/events",
    response_model=ListOut[EventOut],
    responses={**EVENT_RESPONSES, **problem_responses(HTTPStatus.NOT_FOUND)},
)
async def list_instance_events(
    slug: str,
    request: Request,
    daemon: DaemonDep,
    accept: Accept = "",
    last_event_id: LastEventId = None,
    subject: Annotated[
        Literal["checkpoint", "experience", "instance", "sleep_cycle"] | None,
        Query(description="Only events about this."),
    ] = None,
    progress: Annotated[
        bool,
        Query(
            description="Whether running cycles' progress is among them: stages, and some steps."
        ),
    ] = True,
    order: Annotated[
        Literal["oldest", "newest"], Query(description="Which a list begins with.")
    ] = "oldest",
    after: Annotated[
        int | None,
        Query(ge=0, le=MAX_INTEGER, description="Id of the last one known, in this order."),
    ] = None,
    limit: Limit = 200,
) -> Any:
    """What happened to an instance: a list, or a stream of what comes from now on.

    A stream is asked for with `Accept: text/event-stream`; it resumes after `Last-Event-ID` or
    `after`. A session that listens with `subject=checkpoint` learns of a rollback within a second.
    """
    wanted = EventFilter(subject=subject, has_progress=progress)

    def read(after_seq: int, at_most: int) -> tuple[Sequence[EventRow], bool]:
        found = instances.list_events(daemon.db, slug, wanted, after_seq=after_seq, limit=at_most)
        return found, False

    def read_back(before_seq: int, at_most: int) -> tuple[Sequence[EventRow], bool]:
        found = instances.list_newest_events(
            daemon.db, slug, wanted, before_seq=before_seq, limit=at_most
        )
        return found, False

    start = last_event_id if last_event_id is not None else after
    if EVENT_STREAM not in accept:
        if order == "newest":
            return await list_events(read_back, after_seq=start or MAX_INTEGER, limit=limit)
        return await list_events(read, after_seq=start or 0, limit=limit)
    if start is None:
        start = await run_in_threadpool(instances.find_last_event, daemon.db, slug)
    instance_id = await run_in_threadpool(instances.get_instance_id, daemon.db, slug)
    return await stream_events(
        request,
        read,
        after_seq=start,
        concerns=lambda row: row.instance_id == instance_id and wanted.holds(row.type),
    )


@router.get("/{slug}/sleep-decision", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_sleep_decision(slug: str, daemon: DaemonDep, now: Now) -> SleepDecision:
    """Whether the instance should sleep now, and every reason with its numbers."""
    return decisions.get_decision(daemon.db, slug, now=now)
