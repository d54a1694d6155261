"""A sign of life from the thread that works, given between two pieces of work.

A stage such as the first evaluation of a base takes minutes and has no steps to report. What loops
over a model there calls `beat`; whoever runs the training listens. One training runs in a process
at a time, and its pieces may run on several threads, so there is one listener. Must not know who
listens or why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[], None]] = []


def beat() -> None:
    """Say that work goes on. Raises: whatever the listener does, to end the work."""
    for listener in _listeners:
        listener()


@contextmanager
def heard_by(listener: Callable[[], None]) -> Iterator[None]:
    """Call a listener at every beat, from whatever thread beats, while the block lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
