"""Webhooks' rules: which addresses, when again, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import CheckpointDamaged, CurrentMoved, EventType
from app.domain.progress import CycleError
from app.domain.webhooks import (
    MAX_ATTEMPTS,
    MAX_DELAY_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    HookType,
    check_url,
    message_of,
    pick_address,
    read_retry_after,
    retry_delay,
)
from app.errors import InvalidWebhook

NOW = datetime(2026, 1, 18, 12, tzinfo=UTC)
PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.1", "255.255.255.255", "224.0.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::1", "2002:a00:1::1",
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused_in_every_writing(address: str) -> None:
    assert pick_address([address], ()) is None
    assert pick_address([address, PUBLIC], ()) == PUBLIC


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "64:ff9b::5db8:d822"])
def test_public_address_is_taken(address: str) -> None:
    assert pick_address([address], ()) == address


def test_network_that_is_allowed_opens_itself_alone() -> None:
    allowed = [ip_network("127.0.0.0/8")]
    assert pick_address(["10.0.0.1", "127.0.0.1"], allowed) == "127.0.0.1"
    assert pick_address(["::ffff:127.0.0.1"], allowed) == "::ffff:127.0.0.1"
    assert pick_address(["::ffff:10.0.0.1", "::1"], allowed) is None


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://a.example/", "https://", "https:///path", "http://a.example:x/",
        "http://a.example:0/", "http://a.example:99999/", "https://me:word@a.example/",
        "https://me@a.example/", "https://a.example/#x", "https://ä.example/", "https://[::1",
        "https://a.example/a b", "https://a.example/\n", "https://a.example/" + "x" * 2048,
        "file:///etc/passwd", "//a.example/",
    ],
)  # fmt: skip
def test_url_that_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidWebhook) as caught:
        check_url(url)
    assert caught.value.pointer == "/url"


@pytest.mark.parametrize(
    "url", ["https://a.example", "http://127.0.0.1:8080/hook?x=1", "http://[::1]:80/"]
)
def test_url_is_taken(url: str) -> None:
    check_url(url)


@given(st.integers(1, MAX_ATTEMPTS - 1), st.floats(0, 1))
def test_wait_grows_within_bounds(attempts: int, chance: float) -> None:
    waits = retry_delay(attempts, chance=chance, retry_after=None)
    middle = min(5 * 4 ** (attempts - 1), MAX_DELAY_SECONDS)
    assert waits is not None
    assert 0.75 * middle <= waits <= 1.25 * middle


def test_receiver_may_ask_for_longer_up_to_a_day_and_never_for_less() -> None:
    assert retry_delay(1, chance=0.5, retry_after=600) == 600
    assert retry_delay(1, chance=0.5, retry_after=0) == 5
    assert retry_delay(1, chance=0.5, retry_after=1e12) == MAX_RETRY_AFTER_SECONDS
    assert retry_delay(MAX_ATTEMPTS, chance=0.5, retry_after=600) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("120", 120.0), (" 7 ", 7.0), ("-5", None), ("soon", None), ("", None),
        ("9" * 5000, 999999999.0), ("Sun, 18 Jan 2026 12:01:00 GMT", 60.0),
        ("Sun, 18 Jan 2026 11:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, now=NOW) == seconds


def test_every_type_is_one_of_the_event_log() -> None:
    told = {item.value for item in HookType} - {HookType.DATABASE_DAMAGED.value}
    assert told < {item.value for item in EventType}


def test_message_of_a_move_says_from_where_to_where_and_why() -> None:
    facts = CurrentMoved(from_checkpoint="a", to_checkpoint=None, actor="op", reason="worse")
    made = message_of("checkpoint.rolled_back", at=NOW, instance="i", cycle_id=None, facts=facts)
    assert made == {
        "type": "checkpoint.rolled_back",
        "timestamp": "2026-01-18T12:00:00.000Z",
        "data": {
            "instance": "i",
            "cycle": None,
            "checkpoint": None,
            "previous_checkpoint": "a",
            "actor": "op",
            "reason": "worse",
        },
    }


def test_message_of_a_failure_has_its_code_and_not_its_words() -> None:
    facts = CycleError(code="worker-died", message="words of a library")
    made = message_of("sleep_cycle.failed", at=NOW, instance="i", cycle_id="c", facts=facts)
    assert made["data"] == {
        "instance": "i", "cycle": "c", "checkpoint": None, "reason": "worker-died",
    }  # fmt: skip


def test_message_of_damage_names_what_was_damaged() -> None:
    facts = CheckpointDamaged(code="checkpoint-files-altered", file="x", aliases=("current",))
    made = message_of("checkpoint.damaged", at=NOW, instance="i", checkpoint_id="p", facts=facts)
    assert made["data"]["checkpoint"] == "p"
    assert made["data"]["aliases"] == ["current"]
