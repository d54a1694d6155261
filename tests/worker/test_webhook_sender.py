"""Webhooks against a real receiver on loopback; long, for a receiver can fail in many ways."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.clock import utc_now
from app.db.engine import Database
from app.db.tables import WebhookDeliveryRow, WebhookRow
from app.domain.webhooks import MAX_ATTEMPTS, HookType
from app.errors import InstanceNotFound, WebhookDisabled
from app.services import promotion, webhooks
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.worker.webhook_sender import AT_ONCE, AT_ONCE_EACH, WebhookSender, resolve
from tests.patience import wait_until
from tests.publishing import publish
from tests.support import RunningDaemon, StartDaemon, run_command

LOOPBACK = [ip_network("127.0.0.0/8")]


class Receiver:
    """Keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://receiver.example:{self.server.server_port}/hook?x=1"
        self.direct = f"http://127.0.0.1:{self.server.server_port}/hook"

    def messages(self) -> list[dict[str, Any]]:
        """What was posted."""
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now


class Names:
    """A resolver that answers in turn, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002
        """The next answer; the last one from then on."""
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(db: Database, clock: Clock) -> WebhookSender:
    return make_sender(db, clock)


def make_sender(db: Database, clock: Clock, **parts: Any) -> WebhookSender:
    found = {"allowed": LOOPBACK, "resolve": Names(["127.0.0.1"]), **parts}
    return WebhookSender(db, clock=clock, **found)


def add(db: Database, url: str, **values: Any) -> WebhookRow:
    options: dict[str, Any] = {"name": "", "instances": None, "types": None, **values}
    return webhooks.create_webhook(db, url=url, now=utc_now(), **options)


def sent(db: Database, webhook_id: str, status: str | None = None) -> list[WebhookDeliveryRow]:
    page = webhooks.page_deliveries(db, webhook_id, status=status, cursor=None, limit=100)
    return list(page.rows)


def verify(secret: str, got: tuple[dict[str, str], bytes]) -> Any:
    return Webhook(secret).verify(got[1], got[0])


def test_what_happens_is_told_signed_and_without_text(
    db: Database, sender: WebhookSender, receiver: Receiver, data_dir: Path
) -> None:
    publish(db, data_dir / "checkpoints", range(20))  # before it was asked for
    hook = add(db, receiver.url)
    made, _ = publish(db, data_dir / "checkpoints", range(20, 40))
    publish(db, data_dir / "checkpoints", range(40, 60), after=9.0)
    promotion.rollback(
        db,
        "default",
        guard=FileGuard(db, root=data_dir / "checkpoints"),
        actor="op",
        reason="worse",
        expected_revisions=None,
        now=utc_now(),
    )
    while sender.look():
        pass
    told = [verify(hook.secret, item) for item in receiver.got]
    assert sorted(item["type"] for item in told) == [
        "checkpoint.promoted", "checkpoint.rolled_back", "sleep_cycle.rejected",
    ]  # fmt: skip
    moved = next(item["data"] for item in told if item["type"] == "checkpoint.promoted")
    assert (moved["instance"], moved["checkpoint"]) == ("default", made)
    assert {row.status for row in sent(db, hook.id)} == {"delivered"}
    head, body = receiver.got[0]
    assert head["host"] == receiver.url.split("/")[2]
    assert head["content-type"] == "application/json"
    assert b"Exchange" not in body
    with pytest.raises(WebhookVerificationError):
        Webhook(webhooks.new_secret()).verify(body, head)


def test_types_and_instances_choose(
    db: Database, sender: WebhookSender, receiver: Receiver, data_dir: Path
) -> None:
    put_instance(db, "other", {}, now=utc_now())
    add(db, receiver.url, instances=["other"])
    add(db, receiver.url, types=[HookType.FAILED])
    chosen = add(db, receiver.url, instances=["default"], types=[HookType.PROMOTED])
    publish(db, data_dir / "checkpoints", range(20))
    sender.look()
    assert len(receiver.got) == 1
    verify(chosen.secret, receiver.got[0])
    with pytest.raises(InstanceNotFound, match="other"):
        add(db, receiver.url, instances=["othr"])
    with pytest.raises(InstanceNotFound, match="'nobody'; `sage-sleep stats`"):
        add(db, receiver.url, instances=["nobody"])


def test_failure_is_tried_again_under_one_id_then_given_up_and_sent_by_hand(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)
    receiver.status = 500
    webhooks.send_test(db, hook.id, now=clock())
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert sender.look() == 1
        assert sender.look() == 0, "not before its time"
        (row,) = sent(db, hook.id)
        assert (row.attempts, row.last_status_code) == (attempt, 500)
        if row.next_attempt_at is not None:
            clock.now = row.next_attempt_at
    (dead,) = sent(db, hook.id, "dead")
    assert {head["webhook-id"] for head, _ in receiver.got} == {dead.id}
    assert len({head["webhook-signature"] for head, _ in receiver.got}) == MAX_ATTEMPTS
    clock.now += timedelta(days=2)
    assert sender.look() == 0
    receiver.status = 200
    webhooks.retry_delivery(db, hook.id, dead.id, now=clock())
    sender.look()
    (row,) = sent(db, hook.id)
    assert (row.id, row.status, row.attempts) == (dead.id, "delivered", 1)


def test_receiver_that_asks_for_time_gets_it(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)
    receiver.status, receiver.headers = 503, {"Retry-After": "3000"}
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    (row,) = sent(db, hook.id)
    assert row.next_attempt_at == clock() + timedelta(seconds=3000)


def test_receiver_that_is_gone_is_told_no_more(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)
    receiver.status = 410
    for _ in range(2):
        webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    found = webhooks.get_webhook(db, hook.id)
    assert not found.is_enabled
    assert found.disabled_reason == webhooks.GONE
    assert [row.status for row in sent(db, hook.id)] == ["dead", "dead"]
    with pytest.raises(WebhookDisabled, match="turn it on"):
        webhooks.send_test(db, hook.id, now=clock())
    webhooks.patch_webhook(db, hook.id, {"is_enabled": True})
    receiver.status = 204
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    assert sent(db, hook.id)[0].status == "delivered"


def test_redirect_is_not_followed(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)
    receiver.status, receiver.headers = 307, {"Location": receiver.direct}
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    assert len(receiver.got) == 1
    assert "redirect" in str(sent(db, hook.id)[0].last_error)


def test_address_that_is_not_allowed_is_not_connected_to(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    for url in (receiver.url, receiver.direct):
        hook = add(db, url)
        webhooks.send_test(db, hook.id, now=clock())
        make_sender(db, clock, allowed=[]).look()
        (row,) = sent(db, hook.id)
        assert row.last_status_code is None
        assert "SAGE_WEBHOOK_NETWORKS" in str(row.last_error)
        assert row.status == "pending"
    assert receiver.got == []


def test_name_is_looked_up_once_so_that_it_cannot_point_elsewhere_after_the_check(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)  # no resolver but ours knows this name
    webhooks.send_test(db, hook.id, now=clock())
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    make_sender(db, clock, resolve=names).look()
    assert names.asked == 1
    assert len(receiver.got) == 1


def test_proxy_of_the_environment_is_not_used(
    db: Database,
    sender: WebhookSender,
    receiver: Receiver,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    hook = add(db, receiver.url)
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("host", ["a..b", "a" * 300 + ".example"])
def test_name_that_no_resolver_takes_counts_as_an_attempt(
    db: Database, clock: Clock, host: str
) -> None:
    hook = add(db, f"http://{host}/")
    webhooks.send_test(db, hook.id, now=clock())
    make_sender(db, clock, resolve=resolve).look()
    (row,) = sent(db, hook.id)
    assert (row.attempts, row.last_error) == (1, "its name has no address")


def test_receiver_with_much_that_waits_leaves_room_to_others(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    busy, other = add(db, receiver.url), add(db, receiver.url)
    for _ in range(AT_ONCE + 1):
        webhooks.send_test(db, busy.id, now=clock())
    webhooks.send_test(db, other.id, now=clock())
    sender.look()
    assert sent(db, other.id)[0].status == "delivered"
    assert len(sent(db, busy.id, "delivered")) == AT_ONCE_EACH


def test_certificate_is_held_against_the_name_and_not_the_address(
    db: Database, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("receiver.example").configure_cert(context)
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    good = add(db, receiver.url.replace("http:", "https:"))
    foreign = add(db, receiver.url.replace("http://receiver", "https://foreign"))
    for hook in (good, foreign):
        webhooks.send_test(db, hook.id, now=clock())
    with authority.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", file)
        make_sender(db, clock).look()
    assert sent(db, good.id)[0].status == "delivered"
    assert sent(db, foreign.id)[0].last_error == "no answer (ConnectError)"
    assert len(receiver.got) == 1


def test_answer_that_comes_a_byte_at_a_time_ends_with_the_attempt(
    db: Database, clock: Clock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        is_over = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while not is_over.wait(0.02):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        hook = add(db, f"http://slow.example:{server.getsockname()[1]}/")
        webhooks.send_test(db, hook.id, now=clock())
        make_sender(db, clock, attempt_seconds=0.3).look()
        is_over.set()
        thread.join()
    assert sent(db, hook.id)[0].last_error == "no answer within 0.3 s"


def test_restart_loses_nothing_and_repeats_nothing_under_a_new_id(
    db: Database, receiver: Receiver, clock: Clock, data_dir: Path
) -> None:
    hook = add(db, receiver.url)
    publish(db, data_dir / "checkpoints", range(20))
    receiver.status = 500
    make_sender(db, clock).look()  # gathered and attempted; then the daemon is gone
    publish(db, data_dir / "checkpoints", range(20, 40))
    receiver.status = 204
    clock.now += timedelta(minutes=1)
    later = make_sender(db, clock)
    while later.look():
        pass
    rows = sent(db, hook.id)
    assert [row.status for row in rows] == ["delivered"] * len(rows)
    assert len({row.event_seq for row in rows}) == len(rows)
    assert {head["webhook-id"] for head, _ in receiver.got} == {row.id for row in rows}
    webhooks.gather(db, now=clock())
    assert len(sent(db, hook.id)) == len(rows)


def test_new_secret_signs_beside_the_one_before_for_a_day(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url)
    new = webhooks.rotate_secret(db, hook.id, now=clock())
    assert new.secret != hook.secret
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    for secret in (hook.secret, new.secret):
        verify(secret, receiver.got[0])
    clock.now += timedelta(days=1)
    webhooks.send_test(db, hook.id, now=clock())
    sender.look()
    assert len(receiver.got[1][0]["webhook-signature"].split()) == 1


def test_what_was_off_is_not_told_afterwards(
    db: Database, sender: WebhookSender, receiver: Receiver, data_dir: Path
) -> None:
    hook = add(db, receiver.url)
    webhooks.patch_webhook(db, hook.id, {"is_enabled": False})
    publish(db, data_dir / "checkpoints", range(20))
    assert sender.look() == 0
    webhooks.patch_webhook(db, hook.id, {"is_enabled": True})
    assert sender.look() == 0
    assert receiver.got == []
    webhooks.delete_webhook(db, hook.id)


def test_daemon_sends_what_commands_ask_for_and_shows_no_secret(
    start_daemon: StartDaemon, receiver: Receiver
) -> None:
    daemon: RunningDaemon = start_daemon(webhook_networks="127.0.0.0/8")
    http = daemon.http
    made = http.post("/v1/webhooks", json={"url": receiver.direct, "name": "board"}).json()
    webhook_id, secret = made["id"], made["secret"]
    assert secret.startswith("whsec_")
    test = http.post(f"/v1/webhooks/{webhook_id}/test").json()
    wait_until(lambda: bool(receiver.got), "the test message")
    assert verify(secret, receiver.got[0])["type"] == "webhook.test"
    path = f"/v1/webhooks/{webhook_id}/deliveries"
    wait_until(
        lambda: http.get(path).json()["data"][0]["status"] == "delivered", "that it was taken"
    )
    assert http.get(path, params={"status": "dead"}).json()["data"] == []
    http.post(f"{path}/{test['id']}/retry").raise_for_status()
    wait_until(lambda: len(receiver.got) == 2, "the message again")
    assert receiver.got[1][0]["webhook-id"] == receiver.got[0][0]["webhook-id"]
    answers = [http.get(one).text for one in ("/v1/webhooks", f"/v1/webhooks/{webhook_id}", path)]
    assert secret not in "".join(answers) + daemon.log_path.read_text()
    assert 'sage_sleep_webhook_deliveries{status="pending"}' in http.get("/metrics").text
    environment = {"SAGE_URL": str(http.base_url)}
    added = run_command(
        "webhooks", "add", receiver.direct, "--type", "sleep_cycle.failed", environment=environment
    )
    assert added.stdout.startswith("whsec_")
    listed = http.get("/v1/webhooks").json()["data"]
    assert [item["types"] for item in listed] == [None, ["sleep_cycle.failed"]]
    shown = run_command(
        "webhooks", "deliveries", webhook_id, environment={**environment, "COLUMNS": "80"}
    ).stdout
    assert "delivered" in shown
    assert max(map(len, shown.splitlines())) <= 80
    message = shown.splitlines()[1].split()[0]
    listed_ids = [item["id"] for item in listed]
    begins = next(n for n in range(27) if listed_ids[0][:n] != listed_ids[1][:n])
    beginning = webhook_id[:begins].lower()
    run_command("webhooks", "retry", beginning, message, environment=environment)
    wait_until(lambda: len(receiver.got) == 3, "the message by the beginnings of ids")
    refused = run_command("webhooks", "test", "01ZZ", environment=environment, check=False)
    assert "webhooks list" in refused.stderr
    assert http.delete(f"/v1/webhooks/{webhook_id}").status_code == 204
    assert http.get(path).status_code == 404


def test_damage_of_the_database_is_told_though_nothing_can_be_written(
    db: Database, sender: WebhookSender, receiver: Receiver, clock: Clock
) -> None:
    hook = add(db, receiver.url, instances=["default"])
    add(db, receiver.url, types=[HookType.FAILED])
    off = add(db, receiver.url)
    webhooks.patch_webhook(db, off.id, {"is_enabled": False})
    assert sender.look() == 0
    db.note_damage()
    receiver.status = 500
    assert sender.look() == 1
    assert sender.look() == 0  # its turn has not come
    clock.now += timedelta(seconds=10)
    receiver.status = 204
    assert sender.look() == 1
    clock.now += timedelta(days=2)
    assert sender.look() == 0  # once it is taken it is told no more
    first, second = receiver.got
    assert verify(hook.secret, second)["type"] == "database.damaged"
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    db.damage_mark.clear()
    assert sender.look() == 0
    db.note_damage()
    assert sender.look() == 1  # damage anew
