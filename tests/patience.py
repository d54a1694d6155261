"""How long a test may wait for something: as long as its own limit leaves it, and no figure beside.

A test has one clock, the limit of pytest-timeout (`timeout` in pyproject.toml, or its own marker).
Whatever it waits for, a start, a reply, the end of a cycle, may take what is left of that. So a
busy machine makes a test slow and not red, and one that hangs ends with what it waited for. Who is
at work on what fails says `--timeout 30`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

MARGIN_SECONDS = 20.0
"""So long before its limit a test gives up, so that it can say why and its fixtures can end."""

UNLIMITED_SECONDS = 3600.0
"""Where no limit is set: outside of a test, or with `--timeout 0` in a debugger."""

SAMPLE_SECONDS = 0.02

Found = TypeVar("Found")


class _Clock:
    ends_at: float | None = None


def begin(item: pytest.Item) -> None:
    """Start the clock of a test, beside that of pytest-timeout."""
    marker = item.get_closest_marker("timeout")
    if marker is not None and marker.args:
        limit = float(marker.args[0])
    else:
        asked = item.config.getoption("timeout")
        limit = float(item.config.getini("timeout") or 0 if asked is None else asked)
    _Clock.ends_at = time.monotonic() + limit if limit else None


def seconds_left() -> float:
    """Seconds for which the running test may still wait; never less than one."""
    if _Clock.ends_at is None:
        return UNLIMITED_SECONDS
    return max(1.0, _Clock.ends_at - MARGIN_SECONDS - time.monotonic())


def pace() -> float:
    """How many times longer than on a core of its own this process takes now; 1.0 or more.

    What a test demands in seconds, it demands times this, measured right after.
    """
    wall, own = time.perf_counter(), time.thread_time()
    while (worked := time.thread_time() - own) < SAMPLE_SECONDS:
        pass
    return max(1.0, (time.perf_counter() - wall) / worked)


def wait_until(
    look: Callable[[], Found | None], what: str | Callable[[], str], *, every_seconds: float = 0.05
) -> Found:
    """Look until something true is found, and return it; fail the test when its time is up.

    Args:
        what: What was waited for, as the failure says it.
    """
    ends_at = time.monotonic() + seconds_left()
    while not (found := look()):
        if time.monotonic() > ends_at:
            pytest.fail(f"still not so: {what if isinstance(what, str) else what()}")
        time.sleep(every_seconds)
    return found
