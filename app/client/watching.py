"""What an instance runs now, and each time that changes: for a session that loads it.

The instance's event stream says when to look; the aliases say what is current. So nothing is
missed when the stream breaks, and nothing comes twice when it repeats itself.
"""

from __future__ import annotations

from pathlib import Path

import httpx

from app.client.checkpoints import get_checkpoint
from app.client.downloads import download_checkpoint
from app.client.errors import (
    DaemonUnavailable,
    DownloadCorrupt,
    RequestRefused,
)
from app.client.events import LiveEvents, next_events, open_events
from app.client.flows import Close, Emit, Emitting, Flow, Pause, segment
from app.client.instances import get_aliases
from app.client.results import Current
from app.client.sending import backoff_seconds

POLL_SECONDS = 15.0
MAX_FAILED_DOWNLOADS = 5

_GONE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.GONE})


def watch_current(
    instance: str = "default",
    directory: Path | str = "checkpoints",
    *,
    poll_seconds: float = POLL_SECONDS,
) -> Emitting[Current]:
    """Yield what is current now, then each checkpoint that becomes so, downloaded and verified.

    Without end, through restarts of the daemon. After a rollback that is the earlier checkpoint,
    or the bare base model (`is_base`); the same never comes twice in a row.

    Args:
        directory: Where checkpoints lie, each in a directory of its own; those there are verified
            and not downloaded again. Nothing is deleted.
        poll_seconds: How often to look where no stream of events can be had.

    Raises:
        RequestRefused: The token does not suffice, or there is no such instance.
        DownloadCorrupt: What is current could not be had whole in several attempts.
        OSError: The directory cannot be written to.
    """
    seen: str | None = ""
    breaks = failures = 0
    live: LiveEvents | None = None
    while True:
        try:
            live = yield from _open_stream(instance)
            breaks = 0
            while True:
                now = yield from _find_current(instance)
                if now != seen:
                    yield Emit((yield from _fetch(instance, now, directory)))
                    seen, failures = now, 0
                    continue
                if live is None:
                    yield Pause(poll_seconds)
                elif (yield from next_events(live)) is None:
                    break
        except (httpx.TransportError, DaemonUnavailable):
            breaks += 1
        except (DownloadCorrupt, RequestRefused) as error:
            failures += 1
            is_passing = isinstance(error, DownloadCorrupt) or error.status in _GONE
            if not is_passing or failures >= MAX_FAILED_DOWNLOADS:
                raise
        if live is not None:
            yield Close(live.opened)
            live = None
        yield Pause(backoff_seconds(breaks + failures, longest=poll_seconds))


def _open_stream(instance: str) -> Flow[LiveEvents | None]:
    """What happens from now on; None where it can only be asked for."""
    path = f"/v1/instances/{segment(instance)}/events"
    source = yield from open_events(path, {"subject": "checkpoint"}, after=None)
    if isinstance(source, LiveEvents):
        return source
    yield Close(source)
    return None


def _find_current(instance: str) -> Flow[str | None]:
    return (yield from get_aliases(instance)).current


def _fetch(instance: str, checkpoint_id: str | None, directory: Path | str) -> Flow[Current]:
    if checkpoint_id is None:
        return Current(instance=instance, checkpoint=None, directory=None)
    checkpoint = yield from get_checkpoint(checkpoint_id)
    path = yield from download_checkpoint(checkpoint, directory)
    return Current(instance=instance, checkpoint=checkpoint, directory=path)
