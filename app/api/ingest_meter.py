"""How many exchanges came in, with what result, and how long their posts took.

Counted in the process, since a figure that is asked for at every post must cost a microsecond. A
registry of its own, so that several daemons in one process do not share their counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

RESULTS = ("inserted", "duplicate", "rejected")
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""A durable post takes 1 to 20 ms; behind a batch or a busy disk up to seconds."""


class IngestMeter:
    """Counts posts; lives as long as the daemon, and threads share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counted = Counter(
            "sage_sleep_ingest",
            "Exchanges that were posted, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self._counts = {result: counted.labels(result) for result in RESULTS}
        timed = Histogram(
            "sage_sleep_ingest_seconds",
            "From a post's head to its answer.",
            ["route"],
            registry=self.registry,
            buckets=BUCKETS_SECONDS,
        )
        self._seconds = {route: timed.labels(route) for route in ("single", "batch")}

    def count(self, *results: str) -> None:
        """Count exchanges by result."""
        for result in results:
            self._counts[result].inc()

    @contextmanager
    def timed(self, *, is_batch: bool) -> Iterator[None]:
        """Take the time of a post; one that is refused as a whole counts as one that was."""
        started = time.perf_counter()
        try:
            yield
        except Exception:
            self._counts["rejected"].inc()
            raise
        finally:
            seconds = self._seconds["batch" if is_batch else "single"]
            seconds.observe(time.perf_counter() - started)
