"""Webhooks: what is told to others, in which form, when it is tried again, and where it may go.

A message is thin: ids, numbers and codes, and a person's reason for a move. Who wants more asks the
API. Messages and signatures follow Standard Webhooks (standardwebhooks.com).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from app.domain.events import (
    CheckpointDamaged,
    CheckpointRegressed,
    CurrentMoved,
    EventFacts,
    EventType,
)
from app.domain.progress import CycleError
from app.errors import InvalidWebhook

TEST_TYPE = "webhook.test"
MAX_URL_CHARACTERS = 2048

MAX_ATTEMPTS = 10
FIRST_DELAY_SECONDS = 5.0
DELAY_FACTOR = 4.0
MAX_DELAY_SECONDS = 8 * 3600.0
"""So a message is tried for about 23 hours: 5 s, 20 s, 80 s, ... as Standard Webhooks advises."""

MAX_RETRY_AFTER_SECONDS = 24 * 3600.0
JITTER = 0.25

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HookType(StrEnum):
    """What can be told; the names are those of the event log, but for damage of the database.

    That is in no log, since nothing is written to what is damaged.
    """

    PROMOTED = EventType.CHECKPOINT_PROMOTED.value
    ROLLED_BACK = EventType.CHECKPOINT_ROLLED_BACK.value
    REGRESSED = EventType.CHECKPOINT_REGRESSED.value
    DAMAGED = EventType.CHECKPOINT_DAMAGED.value
    REJECTED = EventType.CYCLE_REJECTED.value
    FAILED = EventType.CYCLE_FAILED.value
    DATABASE_DAMAGED = "database.damaged"


class DeliveryStatus(StrEnum):
    """What became of a message: it waits, was taken, or is given up until a person sends it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


def check_url(url: str) -> None:
    """Refuse what no message can go to. Raises: InvalidWebhook."""
    try:
        found = urlsplit(url)
        is_whole = found.scheme in {"http", "https"} and bool(found.hostname) and url.isascii()
        is_whole = is_whole and found.port != 0  # a port that is no number raises
    except ValueError:
        is_whole = False
    if not is_whole:
        fault = "is no address; write one as https://example.org/hook, in ASCII"
    elif "@" in found.netloc or "#" in url:
        fault = "holds a name, a password or a fragment; the signature tells who sends"
    elif len(url) > MAX_URL_CHARACTERS or any(not "!" <= character <= "~" for character in url):
        fault = f"is longer than {MAX_URL_CHARACTERS} characters, or holds blanks"
    else:
        return
    raise InvalidWebhook(f"The webhook's url {fault}.", pointer="/url")


def message_of(
    type_: str,
    *,
    at: datetime,
    instance: str | None,
    cycle_id: str | None = None,
    checkpoint_id: str | None = None,
    facts: EventFacts | None = None,
) -> dict[str, Any]:
    """What is sent: type, time, and ids."""
    data = {"instance": instance, "cycle": cycle_id, "checkpoint": checkpoint_id}
    told = _told(facts)
    instant = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": type_, "timestamp": instant, "data": {**data, **told}}


def _told(facts: EventFacts | None) -> Mapping[str, Any]:
    match facts:
        case CurrentMoved():
            return {
                "checkpoint": facts.to_checkpoint,  # null is the bare base
                "previous_checkpoint": facts.from_checkpoint,
                "actor": facts.actor,
                "reason": facts.reason,
            }
        case CycleError():
            return {"reason": facts.code}  # its message may quote what a library said
        case CheckpointDamaged():
            return {"reason": facts.code, "aliases": list(facts.aliases)}
        case CheckpointRegressed():
            return {"reason": "bad-reports", "bad_reports": facts.bad_reports}
        case _:
            return {}


def retry_delay(attempts: int, *, chance: float, retry_after: float | None) -> float | None:
    """Seconds until the next try after so many; None where there is none.

    Args:
        chance: Evenly from 0 to 1; spreads what failed at once.
        retry_after: What the receiver asked for; it is waited for if it is longer.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    plain = min(FIRST_DELAY_SECONDS * DELAY_FACTOR ** (attempts - 1), MAX_DELAY_SECONDS)
    spread = plain * (1 - JITTER + 2 * JITTER * chance)
    return max(spread, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))


def read_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now) / timedelta(seconds=1))


def pick_address(addresses: Sequence[str], allowed: Iterable[Network]) -> str | None:
    """The first address that messages may go to; None where there is none.

    That is every public one, and those in a network that the owner of the daemon allows.
    """
    networks = list(allowed)
    for address in addresses:
        # A zone such as %eth0 comes with link-local addresses alone.
        found = ipaddress.ip_address(address.partition("%")[0])
        inner = _carried(found)
        if all(_may(one, networks) for one in (found, *inner)):
            return address
    return None


def _may(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, allowed: Sequence[Network]
) -> bool:
    if any(address in network for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return True  # judged by the address that it carries
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _carried(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address]:
    """Addresses within one of IPv6, where packets really go."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
