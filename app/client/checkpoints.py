"""/v1/checkpoints: the registry; bringing a checkpoint here is in `downloads.py`."""

from __future__ import annotations

import uuid
from typing import Any

from app.client.decoding import Page, page_reader, reader
from app.client.flows import Flow, Request, segment
from app.client.instances import if_match
from app.client.results import Aliases, Checkpoint, CheckpointUse, LiveReport
from app.client.sending import call, send


def list_checkpoints(
    *,
    instance: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Flow[Page[Checkpoint]]:
    """Return one page of checkpoints, newest first."""
    params = {"instance": instance, "status": status, "cursor": cursor, "limit": limit}
    request = Request(method="GET", path="/v1/checkpoints", params=params)
    return call(request, page_reader(Checkpoint))


def get_checkpoint(checkpoint_id: str) -> Flow[Checkpoint]:
    """Return one checkpoint."""
    request = Request(method="GET", path=f"/v1/checkpoints/{segment(checkpoint_id)}")
    return call(request, reader(Checkpoint))


def list_checkpoint_experiences(
    checkpoint_id: str,
    *,
    role: str | None = None,
    ancestors: bool = True,
    cursor: str | None = None,
    limit: int | None = None,
) -> Flow[Page[CheckpointUse]]:
    """Return one page of what a checkpoint, with its ancestors, was made with."""
    params = {"role": role, "ancestors": ancestors, "cursor": cursor, "limit": limit}
    path = f"/v1/checkpoints/{segment(checkpoint_id)}/experiences"
    return call(Request(method="GET", path=path, params=params), page_reader(CheckpointUse))


def promote(
    checkpoint_id: str,
    *,
    force: bool = False,
    reason: str | None = None,
    actor: str = "client",
    revision: int | None = None,
) -> Flow[Aliases]:
    """Make a checkpoint `current`; a refused one needs `force` and a reason.

    Args:
        revision: Of the aliases to act on; with another, the daemon refuses with 412.
    """
    request = Request(
        method="POST",
        path=f"/v1/checkpoints/{segment(checkpoint_id)}/promote",
        body={"force": force, "reason": reason, "actor": actor},
        headers=if_match(revision),
        is_repeatable=revision is None,
    )
    return call(request, reader(Aliases))


def patch_checkpoint(checkpoint_id: str, **changes: Any) -> Flow[Checkpoint]:
    """Change a checkpoint's `note` or `pinned`; what is not named stays."""
    path = f"/v1/checkpoints/{segment(checkpoint_id)}"
    return call(Request(method="PATCH", path=path, body=changes), reader(Checkpoint))


def delete_checkpoint(checkpoint_id: str) -> Flow[None]:
    """Delete a checkpoint's files; its record stays."""
    yield from send(Request(method="DELETE", path=f"/v1/checkpoints/{segment(checkpoint_id)}"))


def report_checkpoint(
    checkpoint_id: str,
    *,
    session: str,
    repetition_ratio: float,
    score: float | None = None,
    note: str | None = None,
    report_id: str | None = None,
) -> Flow[LiveReport]:
    """Tell what a session found of the checkpoint it runs; enough bad reports take it back.

    Args:
        repetition_ratio: Share of replies that repeat, 0..1.
        score: How good the replies were, 0..1; None where the session does not say.
        report_id: The session's own id: sent again, it is kept once.
    """
    body = {
        "session": session,
        "repetition_ratio": repetition_ratio,
        "score": score,
        "note": note,
        "report_id": report_id,
    }
    request = Request(
        method="POST",
        path=f"/v1/checkpoints/{segment(checkpoint_id)}/reports",
        body=body,
        headers={"Idempotency-Key": uuid.uuid4().hex},
    )
    return call(request, reader(LiveReport))


def list_checkpoint_reports(
    checkpoint_id: str, *, cursor: str | None = None, limit: int | None = None
) -> Flow[Page[LiveReport]]:
    """Return one page of a checkpoint's reports, newest first."""
    params = {"cursor": cursor, "limit": limit}
    path = f"/v1/checkpoints/{segment(checkpoint_id)}/reports"
    return call(Request(method="GET", path=path, params=params), page_reader(LiveReport))
