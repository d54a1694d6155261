"""Sends what waits for webhooks, many at once: one receiver holds up others by an attempt at most.

Where a message goes is looked up once and judged, and that very address is connected to: a name
that points elsewhere a moment later changes nothing. No redirect is followed, no proxy of the
environment used, and of an answer the head alone is read.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.clock import utc_now
from app.db.engine import Database
from app.domain.webhooks import Network, pick_address, read_retry_after
from app.errors import StorageError
from app.log import get_logger
from app.services import webhooks
from app.services.webhooks import Outcome, Parcel

if TYPE_CHECKING:
    import httpx

ATTEMPT_SECONDS = 15.0
"""Of one attempt in all, however slowly its answer comes; Standard Webhooks advises 15 to 30."""

LOOK_SECONDS = 1.0
FAILED_SECONDS = 60.0
"""After a fault of ours, such as a full disk: what cannot be noted must not be sent each second."""

AT_ONCE, AT_ONCE_EACH = 32, 4

_log = get_logger(__name__)

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


class WebhookSender:
    """Looks every second.

    Args:
        allowed: Networks beside the public ones that messages may go to.
    """

    def __init__(
        self,
        db: Database,
        *,
        allowed: Sequence[Network],
        clock: Callable[[], datetime] = utc_now,
        resolve: Resolve = resolve,
        user_agent: str = "sage-sleep",
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._db = db
        self._allowed = allowed
        self._clock = clock
        self._resolve = resolve
        self._user_agent = user_agent
        self._attempt_seconds = attempt_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._failure: str | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End; an attempt under way is given up, and is made again after the next start."""
        self._stopping.set()
        self._thread.join(timeout=ATTEMPT_SECONDS)

    def look(self) -> int:
        """Make the messages that are due and send them; how many were attempted.

        Raises: StorageError.
        """
        webhooks.gather(self._db, now=self._clock())
        due = webhooks.list_due(self._db, now=self._clock(), limit=AT_ONCE, limit_each=AT_ONCE_EACH)
        if due:
            asyncio.run(self._send_all(due))
        return len(due)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                count = self.look()
                self._failure = None
            except StorageError as error:
                count = 0
                self._say(error.code)
            except Exception as error:  # noqa: BLE001  # the thread must outlive a defect
                count = 0
                self._say(type(error).__name__)
            if self._failure is not None:
                self._stopping.wait(FAILED_SECONDS)
            elif not count:
                self._stopping.wait(LOOK_SECONDS)

    def _say(self, failure: str) -> None:
        """Say what is wrong once, and not at every look."""
        if failure != self._failure:
            _log.warning("webhooks.failed", error=failure)
        self._failure = failure

    async def _send_all(self, due: Sequence[Parcel]) -> None:
        tasks = [asyncio.create_task(self._send(parcel)) for parcel in due]
        waiting = set(tasks)
        while waiting and not self._stopping.is_set():
            _, waiting = await asyncio.wait(waiting, timeout=0.2)
        for task in waiting:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _send(self, parcel: Parcel) -> None:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                outcome = await self._attempt(parcel)
        except TimeoutError:
            outcome = Outcome(error=f"no answer within {self._attempt_seconds:g} s")
        except Exception as error:  # noqa: BLE001  # whatever it is, it counts as an attempt
            outcome = Outcome(error=f"no answer ({type(error).__name__})")
        # A thread of its own, since the database may wait for other writes.
        await asyncio.to_thread(
            webhooks.settle,
            self._db,
            parcel,
            outcome,
            chance=random.random(),  # noqa: S311  # spreads attempts
            now=self._clock(),
        )

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The well-known authorities, the machine's own, and SSL_CERT_FILE."""
        import httpx  # noqa: PLC0415

        found = httpx.create_ssl_context(trust_env=False)
        found.load_default_certs()
        return found

    async def _attempt(self, parcel: Parcel) -> Outcome:
        import httpx  # noqa: PLC0415  # for who has a webhook

        url = httpx.URL(parcel.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await asyncio.to_thread(self._resolve, url.host, port)
        except (OSError, UnicodeError):  # a name of labels that no name has
            return Outcome(error="its name has no address")
        address = pick_address(found, self._allowed)
        if address is None:
            return Outcome(error="its address is not public; SAGE_WEBHOOK_NETWORKS would allow it")
        body = json.dumps(parcel.message, separators=(",", ":"), ensure_ascii=False)
        headers = {
            "Content-Type": "application/json",
            "Host": url.netloc.decode("ascii"),
            "User-Agent": self._user_agent,
            **sign(parcel, body, now=self._clock()),
        }
        async with (
            httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                timeout=self._attempt_seconds,
                verify=self._trust,
            ) as client,
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=body.encode(),
                headers=headers,
                # The certificate is held against the name, not the address.
                extensions={"sni_hostname": url.host},
            ) as answer,
        ):
            return self._judge(answer)

    def _judge(self, answer: httpx.Response) -> Outcome:
        status = answer.status_code
        if answer.is_success:
            return Outcome(status_code=status)
        words = "a redirect, which is not followed" if answer.is_redirect else "refused"
        return Outcome(
            status_code=status,
            error=f"{status}: {words}" if status != HTTPStatus.GONE else webhooks.GONE,
            retry_after=read_retry_after(answer.headers.get("Retry-After"), now=self._clock()),
        )


def sign(parcel: Parcel, body: str, *, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks; a signature for each secret that is good."""
    from standardwebhooks import Webhook  # noqa: PLC0415  # brings httpx

    made = [
        Webhook(secret).sign(msg_id=parcel.delivery_id, timestamp=now, data=body)
        for secret in parcel.secrets
    ]
    return {
        "webhook-id": parcel.delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(made),
    }
