"""A connection to a program beside the daemon: what every runtime's routes are asked through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx

from app.errors import RuntimeUnavailable

MAX_SAID = 300
"""Of a runtime's own words about an error."""


class Connection:
    """Close it, or use it in a block.

    Args:
        name: Of the program, for messages.
        setting: That names its address.
    """

    def __init__(self, url: str, *, name: str, setting: str, timeout_seconds: float) -> None:
        self.url = url
        self._name = name
        self._setting = setting
        # No proxy of the environment: it is on this machine, or one that its owner named.
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Ask. Raises: RuntimeUnavailable."""
        try:
            return self._http.request(method, path, **how)
        except httpx.HTTPError as error:
            raise RuntimeUnavailable(
                f"No {self._name} answers at {self.url} ({type(error).__name__}); start it, or "
                f"name its address in {self._setting}."
            ) from error


def read_object(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON object of an answer; empty where it holds none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
