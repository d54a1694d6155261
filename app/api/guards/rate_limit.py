"""A limit on how often one caller asks: a bucket per caller that fills up evenly.

It holds a minute's worth of requests and gets one back every 60 / n seconds (the generic cell rate
algorithm, ITU-T I.371, in its virtual scheduling form). Written here because `limits`, the library
to take, counts on the wall clock: a clock that jumps back by an hour would lock everyone out.
"""

from __future__ import annotations

import math
import time

from app.errors import TooManyRequests

BUCKET_SECONDS = 60.0
FEWEST_FORGOTTEN = 4096


class RateLimit:
    """Requests per caller; forgets callers whose bucket is full again."""

    def __init__(self, requests_per_minute: int) -> None:
        self._requests_per_minute = requests_per_minute
        self._full_at: dict[str, float] = {}
        self._forget_at = FEWEST_FORGOTTEN

    def take(self, caller: str, requests_per_minute: int | None = None) -> None:
        """Count one request.

        Args:
            requests_per_minute: The caller's own limit; None for the common one, 0 for none.

        Raises: TooManyRequests.
        """
        limit = self._requests_per_minute if requests_per_minute is None else requests_per_minute
        if not limit:
            return
        now = time.monotonic()
        cost = BUCKET_SECONDS / limit
        full_at = max(self._full_at.get(caller, now), now) + cost
        excess = full_at - now - BUCKET_SECONDS
        if excess > cost * 1e-6:
            raise TooManyRequests(
                f"More than {limit} requests a minute; wait {math.ceil(excess)} s.",
                retry_after_seconds=math.ceil(excess),
            )
        self._full_at[caller] = full_at
        if len(self._full_at) > self._forget_at:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            self._forget_at = max(FEWEST_FORGOTTEN, 2 * len(self._full_at))
