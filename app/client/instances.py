"""/v1/instances, /stats and /readyz: settings, aliases, decisions, and the daemon at a glance."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from app.client.decoding import Page, decode, page_reader, reader
from app.client.errors import SleepClientError
from app.client.flows import Flow, Request, Send, segment
from app.client.results import (
    Aliases,
    AliasMove,
    Decision,
    Instance,
    Readiness,
    SleepCycle,
    Stats,
)
from app.client.sending import call, json_of

AT_WORK_STATUSES = frozenset({"ready", "degraded"})
STATS_PER_PAGE = 200


def list_instances() -> Flow[Page[Instance]]:
    """Return all instances, by slug."""
    return call(Request(method="GET", path="/v1/instances"), page_reader(Instance))


def get_instance(instance: str = "default") -> Flow[Instance]:
    """Return one instance, with every default filled in."""
    return call(Request(method="GET", path=f"/v1/instances/{segment(instance)}"), reader(Instance))


def put_instance(
    instance: str,
    *,
    base_model: str | None = None,
    system_prompt: str | None = None,
    timezone: str | None = None,
    policy: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Flow[Instance]:
    """Create an instance or replace its settings; what is left out follows the daemon's."""
    values = {
        "base_model": base_model,
        "system_prompt": system_prompt,
        "timezone": timezone,
        "policy": None if policy is None else dict(policy),
        "recipe": None if recipe is None else dict(recipe),
    }
    body = {name: value for name, value in values.items() if value is not None}
    request = Request(method="PUT", path=f"/v1/instances/{segment(instance)}", body=body)
    return call(request, reader(Instance))


def get_aliases(instance: str = "default") -> Flow[Aliases]:
    """Return which checkpoint each alias names."""
    return call(
        Request(method="GET", path=f"/v1/instances/{segment(instance)}/aliases"), reader(Aliases)
    )


def list_alias_history(
    instance: str = "default", *, cursor: str | None = None, limit: int | None = None
) -> Flow[Page[AliasMove]]:
    """Return one page of the aliases' moves, newest first: from, to, by whom, why."""
    path, params = (
        f"/v1/instances/{segment(instance)}/aliases/history",
        {"cursor": cursor, "limit": limit},
    )
    return call(Request(method="GET", path=path, params=params), page_reader(AliasMove))


def rollback(
    instance: str = "default",
    *,
    reason: str | None = None,
    actor: str = "client",
    revision: int | None = None,
) -> Flow[Aliases]:
    """Take `current` one promotion back, down to the bare base model.

    Sent again only if it never arrived: twice would go back twice.

    Args:
        revision: Of the aliases to act on; with another, the daemon refuses with 412.
    """
    request = Request(
        method="POST",
        path=f"/v1/instances/{segment(instance)}/rollback",
        body={"reason": reason, "actor": actor},
        headers=if_match(revision),
        is_repeatable=False,
    )
    return call(request, reader(Aliases))


def dismiss_candidate(
    instance: str = "default",
    *,
    reason: str | None = None,
    actor: str = "client",
    revision: int | None = None,
) -> Flow[Aliases]:
    """Refuse the `candidate`: its experiences go back to the buffer.

    Sent again only if it never arrived: a second one would find no candidate.

    Args:
        revision: Of the aliases to act on; with another, the daemon refuses with 412.
    """
    request = Request(
        method="POST",
        path=f"/v1/instances/{segment(instance)}/dismiss",
        body={"reason": reason, "actor": actor},
        headers=if_match(revision),
        is_repeatable=False,
    )
    return call(request, reader(Aliases))


def rebuild(
    instance: str = "default", *, reason: str | None = None, actor: str = "client"
) -> Flow[SleepCycle]:
    """Queue a cycle from the base over what is still consolidated."""
    request = Request(
        method="POST",
        path=f"/v1/instances/{segment(instance)}/rebuild",
        body={"reason": reason, "actor": actor},
        headers={"Idempotency-Key": uuid.uuid4().hex},
    )
    return call(request, reader(SleepCycle))


def get_sleep_decision(instance: str = "default") -> Flow[Decision]:
    """Return whether the instance should sleep now, and every reason with its numbers."""
    path = f"/v1/instances/{segment(instance)}/sleep-decision"
    return call(Request(method="GET", path=path), reader(Decision))


def get_stats(
    instance: str | None = None, *, cursor: str | None = None, limit: int | None = None
) -> Flow[Stats]:
    """Return the statistics of one instance or of a page of all."""
    params = {"instance": instance, "cursor": cursor, "limit": limit}
    return call(Request(method="GET", path="/stats", params=params), reader(Stats))


def get_all_stats() -> Flow[Stats]:
    """Return the statistics of every instance, asked for page by page."""
    found = page = yield from get_stats(limit=STATS_PER_PAGE)
    while page.next is not None:
        page = yield from get_stats(cursor=page.next, limit=STATS_PER_PAGE)
        found = replace(found, instances=(*found.instances, *page.instances))
    raw = {**found.raw, "instances": [item.raw for item in found.instances]}
    return replace(found, raw={**raw, "has_more": False, "next": None}, has_more=False, next=None)


def get_readiness() -> Flow[Readiness]:
    """Return whether the daemon can do its job, asked once; no answer is `unavailable`, too."""
    try:
        response: httpx.Response = yield Send(Request(method="GET", path="/readyz"))
        return decode(Readiness, json_of(response))
    except (httpx.TransportError, SleepClientError) as error:
        return Readiness(status="unavailable", checks={"daemon": str(error) or "no answer"})


def is_ready() -> Flow[bool]:
    """Whether the daemon answers and can take exchanges."""
    return (yield from get_readiness()).status in AT_WORK_STATUSES


def if_match(revision: int | None) -> dict[str, str]:
    """The header that guards a race."""
    return {} if revision is None else {"If-Match": f'"{revision}"'}
