"""What a web page may not do to the daemon, though its reader's browser can reach it.

- A page whose name was pointed at this machine (DNS rebinding) counts as the same origin to the
  browser; only the Host header tells, so a foreign one is refused.
- A page may post a form, or text, anywhere without asking. Browsers say where such a request comes
  from (Origin, Sec-Fetch-Site), and a change must not come from elsewhere; and a body that is not
  JSON is refused whoever sends it, since a page must ask before it sends JSON, and nobody says yes.

Callers that are no browser send none of these headers and notice nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from app.api.problems import respond_plainly, respond_with
from app.errors import HostNotAllowed, OriginForbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})
WATCHED = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-length"}
    | {b"transfer-encoding"}
)


class SameOrigin:
    """ASGI middleware: refuses foreign hosts, and changes that a foreign page asks for."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Collection[str],
        allowed_origins: Collection[str],
        is_any_address_allowed: bool,
    ) -> None:
        """Args: is_any_address_allowed: no name but any IP address, which no rebinding makes."""
        self._app = app
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._allowed_origins = frozenset(origin.encode() for origin in allowed_origins)
        self._is_any_address_allowed = is_any_address_allowed
        self._good_hosts: set[bytes] = set()

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if connection["type"] == "http":
            refusal = self._find_refusal(connection)
            if refusal is not None:
                await refusal(connection, receive, send)
                return
        await self._app(connection, receive, send)

    def _find_refusal(self, connection: Connection) -> Response | None:
        found: dict[bytes, bytes] = {}
        for name, value in connection["headers"]:
            if name in WATCHED:
                if name == b"host" and name in found:
                    return respond_with(HostNotAllowed("Two Host headers are one too many."))
                found[name] = value
        host = found.get(b"host", b"")
        if not self._is_allowed(host):
            return respond_with(
                HostNotAllowed(
                    f"This daemon is not {host.decode('latin-1')!r}; SAGE_ALLOWED_HOSTS names "
                    "the hosts it answers for."
                )
            )
        if connection["method"] in SAFE_METHODS:
            return None
        if self._is_foreign(found, host):
            return respond_with(
                OriginForbidden(
                    "A web page of another origin may change nothing here; SAGE_ALLOWED_ORIGINS "
                    "names those that may."
                )
            )
        if not _is_json_or_empty(found):
            return respond_plainly(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return None

    def _is_allowed(self, host: bytes) -> bool:
        if host in self._good_hosts:
            return True
        name = _without_port(host.decode("latin-1").lower())
        is_good = name in self._allowed_hosts or (
            self._is_any_address_allowed and _is_address(name)
        )
        if is_good and len(self._good_hosts) < 256:
            self._good_hosts.add(host)
        return is_good

    def _is_foreign(self, found: dict[bytes, bytes], host: bytes) -> bool:
        origin = found.get(b"origin")
        if origin is None:
            return found.get(b"sec-fetch-site") in FOREIGN_SITES
        is_own = origin.partition(b"://")[2].lower() == host.lower()
        return not is_own and origin not in self._allowed_origins


def _is_json_or_empty(found: dict[bytes, bytes]) -> bool:
    media_type = found.get(b"content-type")
    if media_type is None:
        return b"transfer-encoding" not in found and found.get(b"content-length", b"0") == b"0"
    kind = media_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or kind.endswith(b"+json")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
