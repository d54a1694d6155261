"""What a session runtime imports to talk to the daemon; needs httpx and nothing else of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

DEFAULT_URL = "http://127.0.0.1:8760"
FOLLOW_INTERVAL_SECONDS = 0.5
ENDED_STATUSES = frozenset({"succeeded", "rejected", "failed", "cancelled"})


class SleepClientError(Exception):
    """The daemon cannot be reached or refused a request.

    Attributes:
        status: HTTP status; None when there was no answer.
        problem: The problem document; empty when there was none.
    """

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


class SleepClient:
    """A connection to one daemon; close it, or use it in a `with` block."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout_seconds: float = 10.0) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def post_experience(self, exchange: Mapping[str, Any]) -> dict[str, Any]:
        """Post one exchange and return its receipt."""
        return self._send("POST", "/v1/experiences", json=dict(exchange))

    def post_batch(self, exchanges: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Post up to 1000 exchanges and return what became of each."""
        return self._send(
            "POST", "/v1/experiences/batch", json={"experiences": [dict(e) for e in exchanges]}
        )

    def request_sleep(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a sleep cycle, or with `dry_run` for what one would do."""
        return self._send("POST", "/v1/sleep-cycles", json=dict(request))

    def get_sleep_cycle(self, cycle_id: str) -> dict[str, Any]:
        """Return one cycle."""
        return self._send("GET", f"/v1/sleep-cycles/{cycle_id}")

    def list_sleep_cycles(self, **query: Any) -> dict[str, Any]:
        """Return one page of cycles."""
        return self._send("GET", "/v1/sleep-cycles", params=_sent(query))

    def follow_sleep_cycle(self, cycle_id: str) -> Iterator[dict[str, Any]]:
        """Yield a cycle each time it is looked at, until and with its end."""
        while True:
            cycle = self.get_sleep_cycle(cycle_id)
            yield cycle
            if cycle["status"] in ENDED_STATUSES:
                return
            time.sleep(FOLLOW_INTERVAL_SECONDS)

    def get_checkpoint(self, checkpoint_id: str) -> dict[str, Any]:
        """Return one checkpoint."""
        return self._send("GET", f"/v1/checkpoints/{checkpoint_id}")

    def list_checkpoints(self, **query: Any) -> dict[str, Any]:
        """Return one page of checkpoints."""
        return self._send("GET", "/v1/checkpoints", params=_sent(query))

    def promote(self, checkpoint_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make a checkpoint current and return the aliases."""
        return self._send("POST", f"/v1/checkpoints/{checkpoint_id}/promote", json=dict(request))

    def rollback(self, instance: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take current one promotion back and return the aliases."""
        return self._send("POST", f"/v1/instances/{instance}/rollback", json=dict(request))

    def get_stats(self, instance: str | None = None) -> dict[str, Any]:
        """Return the statistics of one instance or all."""
        return self._send("GET", "/stats", params=_sent({"instance": instance}))

    def is_ready(self) -> bool:
        """Whether the daemon answers and can take exchanges."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _send(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise SleepClientError(
                f"No daemon answers at {self.url} ({type(error).__name__}); "
                "start one with `sage-sleep serve`."
            ) from error
        if response.is_error:
            problem = _problem(response)
            raise SleepClientError(
                str(problem.get("detail", response.reason_phrase)),
                status=response.status_code,
                problem=problem,
            )
        answer: dict[str, Any] = response.json()
        return answer


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _sent(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
