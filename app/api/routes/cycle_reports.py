"""/v1/sleep-cycles/{id}/report: a cycle's report, for a person or for a program."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse

from app.api.accept import prefers_html
from app.api.deps import Accept, DaemonDep
from app.api.guards.access import GuardedRoute
from app.api.pages.report_page import render_report
from app.api.problems import problem_responses
from app.api.schemas import CycleReportOut, FloorOut, LeftOutOut, UsedExperienceOut
from app.services import cycle_reports

REPORT_HEADERS = {"Vary": "Accept", "Cache-Control": "no-cache"}

router = APIRouter(prefix="/v1/sleep-cycles", tags=["sleep cycles"], route_class=GuardedRoute)


@router.get(
    "/{cycle_id}/report",
    response_model=CycleReportOut,
    responses={
        200: {"content": {"text/html": {}}, "description": "JSON, or a page for a person."},
        **problem_responses(HTTPStatus.NOT_FOUND),
    },
)
def get_cycle_report(
    cycle_id: str,
    response: Response,
    daemon: DaemonDep,
    accept: Accept = "",
    shape: Annotated[
        Literal["html", "json"] | None,
        Query(alias="format", description="Wins over the Accept header."),
    ] = None,
) -> Any:
    """What a cycle in any state learned and kept, the gate's verdict, and replies side by side."""
    report = _report(cycle_reports.get_report(daemon.db, cycle_id))
    if shape == "html" or (shape is None and prefers_html(accept)):
        page = render_report(report)
        return HTMLResponse(page.html, headers={**REPORT_HEADERS, **page.headers})
    response.headers.update(REPORT_HEADERS)
    return report


def _report(found: cycle_reports.CycleReport) -> CycleReportOut:
    cycle, checkpoint, findings = found.cycle, found.checkpoint, asdict(found.findings)
    names = (
        "id", "number", "status", "trigger", "created_at", "started_at", "finished_at", "error",
        "progress",
    )  # fmt: skip
    return CycleReportOut(
        **{name: getattr(cycle, name) for name in names},
        **findings,
        instance=found.instance,
        summary=found.summary,
        parent_checkpoint_id=cycle.plan["parent_checkpoint_id"],
        checkpoint_id=checkpoint.id if checkpoint else None,
        aliases=list(found.aliases),
        tainted_at=checkpoint.tainted_at if checkpoint else None,
        regressed_at=checkpoint.regressed_at if checkpoint else None,
        verdict=cycle.verdict["status"] if cycle.verdict else None,
        experiences=[
            UsedExperienceOut(id=name, role=role, weight=weight, status=status)
            for name, role, weight, status in found.uses
        ],
        left_out=[
            LeftOutOut(**{name: rule[name] for name in LeftOutOut.model_fields})
            for rule in cycle.plan.get("left_out", ())
        ],
        floors=[
            FloorOut(
                category=floor["category"],
                met=floor["is_met"],
                text=floor["text"],
                experience_ids=floor["experience_ids"],
            )
            for floor in cycle.plan.get("floors", ())
        ],
        recipe=cycle.plan["recipe"],
    )
