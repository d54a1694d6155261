"""The report of a cycle as a page of HTML that asks for nothing else.

Every value is escaped by the template engine: replies are a model's words and may hold anything.
The style is part of the page, and its hash is the only thing the page's policy lets in.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from markupsafe import Markup

from app.domain.cycle_report import CycleReport
from app.domain.loss_picture import HEIGHT, WIDTH, draw_loss

if TYPE_CHECKING:
    from jinja2 import Template

SHOWN_EXPERIENCES = 40
"""The heaviest on the page; the JSON has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPage:
    """A page and the headers it must be sent with."""

    html: str
    headers: dict[str, str]


def render_report(report: CycleReport) -> ReportPage:
    """Lay a report out for a person."""
    template, style, policy = _page()
    trained = [item for item in report.experiences if item.role == "train"]
    heaviest = sorted(trained, key=lambda item: -item.weight)
    html = template.render(
        report=report,
        recipe=asdict(report.recipe),
        style=Markup(style),  # noqa: S704  # our own file, which holds no value
        picture=draw_loss(report.loss_curve),
        width=WIDTH,
        height=HEIGHT,
        trained=trained,
        shown=heaviest[:SHOWN_EXPERIENCES],
        rehearsed=sum(item.role == "rehearsal" for item in report.experiences),
        held_out=sum(item.role == "held_out" for item in report.experiences),
        erased=sum(item.status == "erased" for item in report.experiences),
    )
    return ReportPage(
        html=html,
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )


@cache
def report_style_source() -> str:
    """What a content security policy must name to let in the report's style and no other."""
    digest = hashlib.sha256(_read("cycle_report.css").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _page() -> tuple[Template, str, str]:
    """The template, its style, and the policy that lets in this style and nothing else."""
    from jinja2 import (  # noqa: PLC0415  # for the first who asks
        Environment,
        FunctionLoader,
        StrictUndefined,
    )

    style = _read("cycle_report.css")
    policy = (
        f"default-src 'none'; style-src {report_style_source()}; base-uri 'none'; "
        "form-action 'none'; "
        "frame-ancestors 'none'"
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_read),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["moment"] = lambda at: f"{at:%Y-%m-%d %H:%M} UTC" if at else "–"
    return environment.get_template("cycle_report.html"), style, policy


def _read(name: str) -> str:
    return (resources.files("app.web") / name).read_text(encoding="utf-8")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
