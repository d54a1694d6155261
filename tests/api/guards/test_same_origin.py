"""What a web page may not do, over a real socket, with the headers that browsers send."""

from __future__ import annotations

import json
import socket

import pytest

from app.settings import Settings
from tests.patience import seconds_left
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command

JSON = {"Content-Type": "application/json"}
ROLLBACK = "/v1/instances/default/rollback"


def own_origin(daemon: RunningDaemon) -> str:
    return f"http://127.0.0.1:{daemon.http.base_url.port}"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8760", "", "127.0.0.1.evil.example"]
)
def test_foreign_host_is_refused_even_for_reading(daemon: RunningDaemon, host: str) -> None:
    answer = daemon.http.get("/stats", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert "SAGE_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8760", "localhost."]
)
def test_own_hosts_are_answered_on_any_port(daemon: RunningDaemon, host: str) -> None:
    assert daemon.http.get("/stats", headers={"Host": host}).status_code == 200


def test_two_hosts_are_refused(daemon: RunningDaemon) -> None:
    with socket.create_connection(("127.0.0.1", daemon.http.base_url.port)) as connection:
        connection.settimeout(seconds_left())
        connection.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 421")


def test_further_hosts_are_a_setting(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(allowed_hosts="sage.example, sage.local")
    for host in ("sage.local:443", "Sage.Example"):
        assert daemon.http.get("/stats", headers={"Host": host}).status_code == 200
    assert daemon.http.get("/stats", headers={"Host": "192.0.2.7"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},  # another program's page on the same machine
        {"Origin": "null"},  # a sandboxed frame, or a file
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_foreign_page_changes_nothing(daemon: RunningDaemon, headers: dict[str, str]) -> None:
    for method, path, body in (
        ("POST", "/v1/experiences", json.dumps(make_exchange(1)).encode()),
        ("POST", ROLLBACK, b""),
        ("PUT", "/v1/instances/other", b"{}"),
        ("DELETE", "/v1/experiences/x", b""),
    ):
        sent = headers | (JSON if body else {})
        answer = daemon.http.request(method, path, content=body, headers=sent)
        assert answer.status_code == 403, (method, path)
        assert answer.json()["type"].endswith("origin-forbidden")
        assert "access-control-allow-origin" not in answer.headers
    assert daemon.http.get("/v1/experiences").json()["data"] == []


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_body_that_a_page_may_send_unasked_is_refused(
    daemon: RunningDaemon, media_type: str
) -> None:
    body = json.dumps(make_exchange(1)).encode()
    headers = {"Content-Type": media_type}
    for path in ("/v1/experiences", "/v1/experiences/batch", ROLLBACK, "/v1/sleep-cycles"):
        answer = daemon.http.post(path, content=body, headers=headers)
        assert answer.status_code == 415, path
        assert "Content-Type: application/json" in answer.json()["detail"]
    assert daemon.http.post(ROLLBACK, content=b"{}").status_code == 415  # of no type at all


def test_page_must_ask_before_it_sends_json_and_nobody_says_yes(daemon: RunningDaemon) -> None:
    preflight = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = daemon.http.options("/v1/experiences", headers=preflight)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_own_page_and_callers_that_are_no_browser_may(daemon: RunningDaemon) -> None:
    own = {"Origin": own_origin(daemon), "Sec-Fetch-Site": "same-origin"}
    for number, headers in enumerate([own, {"Sec-Fetch-Site": "none"}, {}]):
        answer = daemon.http.post("/v1/experiences", json=make_exchange(number), headers=headers)
        assert answer.status_code == 201
    assert daemon.http.post(ROLLBACK).status_code == 409  # a POST without a body still is one


def test_allowed_origin_may_ask_and_post(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(allowed_origins="https://board.example")
    origin = {"Origin": "https://board.example", "Sec-Fetch-Site": "cross-site"}
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    asked = daemon.http.options("/v1/experiences", headers=origin | preflight)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://board.example"
    posted = daemon.http.post("/v1/experiences", json=make_exchange(1), headers=origin)
    assert posted.status_code == 201
    assert posted.headers["access-control-allow-origin"] == "https://board.example"
    other = {"Origin": "https://other.example"}
    assert daemon.http.post("/v1/experiences", json={}, headers=other).status_code == 403


@pytest.mark.parametrize("origin", ["*", "https://*", "board.example", "https://board.example/"])
def test_what_is_no_origin_is_no_setting(origin: str) -> None:
    result = run_command("serve", environment={"SAGE_ALLOWED_ORIGINS": origin}, check=False)
    assert result.returncode == 1
    assert "SAGE_ALLOWED_ORIGINS" in result.stderr


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.0.2.7", False),  # noqa: S104
        ("sage.example", False), ("localhost.example", False),
    ],
)  # fmt: skip
def test_only_loopback_counts_as_loopback(host: str, *, is_loopback: bool) -> None:
    assert Settings(host=host).is_loopback is is_loopback
