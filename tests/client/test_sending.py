"""What is sent again, when, and what never is."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.client import (
    AnswerNotUnderstood,
    DaemonUnavailable,
    Exchange,
    RequestRefused,
    SleepClient,
    SleepClientError,
)
from app.client.request import backoff_seconds
from tests.client.scripted import Answer, ScriptedServer
from tests.patience import pace
from tests.support import free_port

STATS = {"version": "1", "started_at": "2026-01-18T12:00:00Z", "uptime_seconds": 1, "instances": []}
BUSY = Answer(status=503, headers={"Retry-After": "0"})
ALIASES = {
    "instance": "default", "revision": 1, "current": None, "previous": None, "candidate": None,
}  # fmt: skip


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_errors_are_tried_again(scripted: ScriptedServer, status: int) -> None:
    scripted.answers = [Answer(status=status), Answer(status=status), Answer.of(STATS)]
    with SleepClient(scripted.url) as client:
        assert client.get_stats().version == "1"
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 422, 500])
def test_lasting_errors_are_not(scripted: ScriptedServer, status: int) -> None:
    problem = {"detail": "No, because.", "status": status, "number": 3}
    scripted.answers = [Answer.of(problem, status=status)]
    with SleepClient(scripted.url) as client, pytest.raises(RequestRefused) as raised:
        client.get_stats()
    assert (raised.value.status, str(raised.value)) == (status, "No, because.")
    assert raised.value.problem["number"] == 3
    assert len(scripted.asked) == 1


def test_retry_after_is_waited_for(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer(status=429, headers={"Retry-After": "1"}), Answer.of(STATS)]
    started = time.monotonic()
    with SleepClient(scripted.url) as client:
        client.get_stats()
    assert time.monotonic() - started >= 1


def test_retry_after_as_a_date_beyond_the_time_for_retries_gives_up_at_once(
    scripted: ScriptedServer,
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    scripted.answers = [Answer(status=503, headers={"Retry-After": later})]
    with SleepClient(scripted.url) as client, pytest.raises(DaemonUnavailable):
        client.get_stats()
    assert len(scripted.asked) == 1


def test_time_for_retries_is_bounded(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer(status=503)]
    started = time.monotonic()
    with SleepClient(scripted.url, retry_seconds=1) as client, pytest.raises(DaemonUnavailable):
        client.get_stats()
    assert time.monotonic() - started < 2 * pace()
    assert len(scripted.asked) > 2


def test_daemon_that_is_not_there_is_said_with_no_status() -> None:
    with (
        SleepClient(f"http://127.0.0.1:{free_port()}", retry_seconds=0) as client,
        pytest.raises(DaemonUnavailable, match="sage-sleep serve") as raised,
    ):
        client.get_stats()
    assert raised.value.status is None


def test_rollback_whose_answer_was_lost_is_not_sent_again(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer.of(ALIASES, cut=3)]
    with SleepClient(scripted.url) as client, pytest.raises(DaemonUnavailable):
        client.rollback("default")
    assert len(scripted.asked) == 1


def test_promotion_whose_answer_was_lost_is_sent_again(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer.of(ALIASES, cut=3), Answer.of(ALIASES)]
    with SleepClient(scripted.url) as client:
        client.promote("01J")
    assert len(scripted.asked) == 2


def test_one_request_has_one_idempotency_key_however_often_it_is_sent(
    scripted: ScriptedServer,
) -> None:
    scripted.answers = [BUSY, BUSY, Answer(status=409)]
    with SleepClient(scripted.url) as client:
        for _ in range(2):
            with pytest.raises(RequestRefused):
                client.request_sleep()
    keys = [asked.headers["idempotency-key"] for asked in scripted.asked]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 2


def test_token_is_sent_and_shown_nowhere(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer(status=401)]
    token = "sage_secret"
    with SleepClient(scripted.url, token=token) as client:
        with pytest.raises(RequestRefused) as raised:
            client.get_stats()
        assert token not in repr(client) + str(raised.value) + repr(vars(client))
    assert scripted.asked[0].headers["authorization"] == "Bearer sage_secret"


def test_names_stay_one_segment_of_the_path(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer(status=404)]
    with SleepClient(scripted.url) as client, pytest.raises(RequestRefused):
        client.get_checkpoint("../instances?x=1#y")
    assert scripted.asked[0].path == "/v1/checkpoints/..%2Finstances%3Fx%3D1%23y"


def test_something_else_at_the_address_is_not_understood(scripted: ScriptedServer) -> None:
    scripted.answers = [Answer(body=b"<html>")]
    with SleepClient(scripted.url) as client, pytest.raises(AnswerNotUnderstood, match="JSON"):
        client.get_stats()


def test_text_that_utf_8_cannot_hold_reaches_the_daemon_all_the_same(
    scripted: ScriptedServer,
) -> None:
    scripted.answers = [Answer(status=422)]
    with SleepClient(scripted.url) as client, pytest.raises(SleepClientError):
        client.post_experience(Exchange(prompt="half a pair", response="\ud83c"))
    assert json.loads(scripted.asked[0].body)["response"] == "\ud83c"


def test_pauses_double_up_to_a_longest_with_chance_in_them() -> None:
    pauses = [backoff_seconds(attempt, longest=2) for attempt in range(50)]
    assert max(pauses) <= 2
    assert min(pauses) >= 0.05
    assert len({backoff_seconds(9) for _ in range(20)}) > 1
