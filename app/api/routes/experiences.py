"""/v1/experiences: reading, searching and erasing; posting is in `app.api.routes.posting`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.deps import MAX_INTEGER, Cursor, DaemonDep, Limit, Now
from app.api.guards.access import AccessDep, GuardedRoute
from app.api.problems import problem_responses
from app.api.schemas import (
    ErasedOut,
    ExperienceDetailOut,
    ExperienceOut,
    ExperienceUseOut,
    ListOut,
    SalienceOut,
)
from app.db.tables import ExperienceRow
from app.domain.experience import ExperienceStatus
from app.services import erasure, experiences

router = APIRouter(prefix="/v1/experiences", tags=["experiences"], route_class=GuardedRoute)


@router.get("", responses=problem_responses(HTTPStatus.NOT_FOUND))
def list_experiences(
    daemon: DaemonDep,
    access: AccessDep,
    instance: str | None = None,
    status: ExperienceStatus | None = None,
    session: str | None = None,
    session_number: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    phase: str | None = None,
    min_salience: Annotated[float | None, Query(ge=0, le=1)] = None,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00]*$",
            description="Text to look for in prompt and response.",
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ListOut[ExperienceOut]:
    """List experiences, newest first."""
    if instance is not None:
        access.require_instance(instance)
    page, slugs = experiences.list_experiences(
        daemon.db,
        instance=instance,
        within=access.instances,
        status=status.value if status else None,
        session_name=session,
        session_number=session_number,
        phase=phase,
        min_total=min_salience,
        text=q,
        cursor=cursor,
        limit=limit,
    )
    return ListOut(
        data=[ExperienceOut(**_columns(row, slugs[row.instance_id])) for row in page.rows],
        has_more=page.next_cursor is not None,
        next=page.next_cursor,
    )


@router.get("/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND))
def get_experience(experience_id: str, daemon: DaemonDep) -> ExperienceDetailOut:
    """One experience, with the cycles and checkpoints that hold it."""
    view = experiences.get_experience(daemon.db, experience_id)
    uses = [
        ExperienceUseOut(
            sleep_cycle_id=cycle.id,
            number=cycle.number,
            status=cycle.status,
            role=use.role,
            weight=use.weight,
            checkpoint_id=checkpoint.id if checkpoint else None,
        )
        for use, cycle, checkpoint in view.uses
    ]
    return ExperienceDetailOut(**_columns(view.row, view.instance), sleep_cycles=uses)


@router.delete(
    "/{experience_id}", responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
)
def delete_experience(experience_id: str, daemon: DaemonDep, now: Now) -> ErasedOut:
    """Erase an experience's text, and name the checkpoints that were trained on it."""
    row, trained = experiences.erase_experience(daemon.db, experience_id, now=now)
    is_purged = erasure.purge_traces(
        daemon.db, kept_root=daemon.kept_root, snapshots_root=daemon.snapshots_root
    )
    return ErasedOut(
        id=row.id,
        status=ExperienceStatus(row.status),
        erased_at=row.erased_at,
        purged=is_purged,
        checkpoints=[checkpoint.id for checkpoint in trained],
    )


def _columns(row: ExperienceRow, instance: str) -> dict[str, Any]:
    same = set(ExperienceOut.model_fields) - {"instance", "salience", "metadata", "truncated"}
    return {
        **{name: getattr(row, name) for name in same},
        "instance": instance,
        "metadata": row.extra,
        "truncated": row.is_truncated,
        "salience": SalienceOut(**{name: getattr(row, name) for name in SalienceOut.model_fields}),
    }
