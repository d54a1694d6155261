"""What a coroutine does and a thread does otherwise: `asleep` and `sleep`, `awork` and `work`.

`sync_client.py` is written from `async_client.py`; there the first of each pair becomes the second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def asleep(seconds: float) -> None:
    """Wait, and let other tasks go on."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def awork(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what blocks on files in a thread, and let other tasks go on."""
    return await asyncio.to_thread(function, *args, **kwargs)


def work(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what blocks on files."""
    return function(*args, **kwargs)
