"""Posts made before the clock runs: the load generator shares the cores with what it measures."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.benchmarks.load import request_bytes
from tests.benchmarks.test_ingest_speed import exchange


def always(request: bytes) -> Callable[[int], bytes]:
    """The same request whatever the number, for `run_load`."""
    return lambda _: request


def prepared_posts(first: int, count: int) -> Callable[[int], bytes]:
    """So many posts of exchanges that no other number gives, for `run_load`."""
    requests = [
        request_bytes("POST", "/v1/experiences", json.dumps(exchange(number)).encode())
        for number in range(first, first + count)
    ]
    return requests.__getitem__
