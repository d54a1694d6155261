"""Sends what waits for webhooks, many at once: one receiver holds up others by an attempt at most.

Where a message goes is looked up once and judged, and that very address is connected to: a name
that points elsewhere a moment later changes nothing. No redirect is followed, no proxy of the
environment used, and of an answer the head alone is read.

Damage of the database is told from memory, since nothing is written any more: until it is taken, or
given up as any other message, and anew after each start.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.clock import utc_now
from app.db.engine import Database
from app.domain.webhooks import Network, pick_address, read_retry_after, retry_delay
from app.log import get_logger
from app.services import webhooks
from app.services.webhooks import Outcome, Parcel
from app.worker.looking import Looker

if TYPE_CHECKING:
    import httpx

ATTEMPT_SECONDS = 15.0
"""Of one attempt in all, however slowly its answer comes; Standard Webhooks advises 15 to 30."""

LOOK_SECONDS = 1.0
AT_ONCE, AT_ONCE_EACH = 32, 4

NEVER = datetime.max.replace(tzinfo=UTC)

_log = get_logger(__name__)

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name. Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


@dataclass(kw_only=True, slots=True)
class _Alarm:
    """A message about damage, which no database keeps."""

    parcel: Parcel
    due_at: datetime
    attempts: int = 0


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
        self._looker = Looker(self.look, name="webhooks", look_seconds=LOOK_SECONDS)
        self._stopping = self._looker.stopping
        self._alarms: list[_Alarm] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._looker.start()

    def stop(self) -> None:
        """End; an attempt under way is given up, and is made again after the next start."""
        self._looker.stop(timeout_seconds=ATTEMPT_SECONDS)

    def look(self) -> int:
        """Make the messages that are due and send them; how many were attempted.

        Raises: StorageError.
        """
        if self._db.damage_mark.is_set:
            return self._tell_damage()
        self._alarms = None
        webhooks.gather(self._db, now=self._clock())
        due = webhooks.list_due(self._db, now=self._clock(), limit=AT_ONCE, limit_each=AT_ONCE_EACH)
        if due:
            asyncio.run(self._send_all(due, self._settle))
        return len(due)

    def _tell_damage(self) -> int:
        """Send what is due of the messages that say that the database is damaged."""
        now = self._clock()
        if self._alarms is None:
            parcels = webhooks.list_alarms(self._db, now=now)
            self._alarms = [_Alarm(parcel=parcel, due_at=now) for parcel in parcels]
        due = {alarm.parcel.delivery_id: alarm for alarm in self._alarms if alarm.due_at <= now}

        def settle(parcel: Parcel, outcome: Outcome) -> None:
            alarm = due[parcel.delivery_id]
            alarm.attempts += 1
            chance = random.random()  # noqa: S311  # spreads attempts
            delay = retry_delay(alarm.attempts, chance=chance, retry_after=outcome.retry_after)
            is_over = outcome.error is None or outcome.error == webhooks.GONE or delay is None
            alarm.due_at = NEVER if is_over else self._clock() + timedelta(seconds=delay or 0)
            _log.info(
                "webhook.damage_told",
                webhook_id=parcel.webhook_id,
                attempts=alarm.attempts,
                status_code=outcome.status_code,
                error=outcome.error,
            )

        parcels = [alarm.parcel for alarm in due.values()][:AT_ONCE]
        if parcels:
            asyncio.run(self._send_all(parcels, settle))
        return len(parcels)

    def _settle(self, parcel: Parcel, outcome: Outcome) -> None:
        chance = random.random()  # noqa: S311  # spreads attempts
        webhooks.settle(self._db, parcel, outcome, chance=chance, now=self._clock())

    async def _send_all(
        self, due: Sequence[Parcel], settle: Callable[[Parcel, Outcome], None]
    ) -> None:
        tasks = [asyncio.create_task(self._send(parcel, settle)) for parcel in due]
        waiting = set(tasks)
        while waiting and not self._stopping.is_set():
            _, waiting = await asyncio.wait(waiting, timeout=0.2)
        for task in waiting:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _send(self, parcel: Parcel, settle: Callable[[Parcel, Outcome], None]) -> None:
        try:
            async with asyncio.timeout(self._attempt_seconds):
                outcome = await self._attempt(parcel)
        except TimeoutError:
            outcome = Outcome(error=f"no answer within {self._attempt_seconds:g} s")
        except Exception as error:  # noqa: BLE001  # whatever it is, it counts as an attempt
            outcome = Outcome(error=f"no answer ({type(error).__name__})")
        # A thread of its own, since the database may wait for other writes.
        await asyncio.to_thread(settle, parcel, outcome)

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
