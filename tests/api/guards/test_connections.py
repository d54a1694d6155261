"""Slow, half-open and too many connections, and TLS, over real sockets."""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from tests.patience import pace, seconds_left, wait_until
from tests.support import RunningDaemon, StartDaemon, free_port, make_exchange, run_command

HEAD = b"POST /v1/experiences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def connect(daemon: RunningDaemon, *, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", daemon.http.base_url.port))
    connection.settimeout(seconds_left())
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset is an end too."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def drip(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.send(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.daemon(header_timeout_seconds=0.5)
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", HEAD, b"\r\n"])
def test_half_a_head_is_not_waited_for(daemon: RunningDaemon, sent: bytes) -> None:
    with connect(daemon) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        assert read_to_end(connection) == b""
        assert 0.3 < time.monotonic() - started < 5 * pace()


@pytest.mark.daemon(header_timeout_seconds=0.5)
def test_head_that_comes_byte_by_byte_is_not_waited_for(daemon: RunningDaemon) -> None:
    with connect(daemon) as connection:
        started = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            drip(connection, HEAD * 20)
        assert time.monotonic() - started < 5 * pace()


@pytest.mark.daemon(header_timeout_seconds=0.5)
def test_second_request_on_a_connection_has_the_same_time(daemon: RunningDaemon) -> None:
    with connect(daemon) as connection:
        for _ in range(3):  # whole requests may come later than that
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.4)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        started = time.monotonic()
        assert read_to_end(connection) == b""
        assert time.monotonic() - started < 3 * pace()


def test_body_that_does_not_come_is_answered_and_not_waited_for(
    start_daemon: StartDaemon,
) -> None:
    daemon = start_daemon(body_timeout_seconds=0.5)
    for path in (b"/v1/experiences", b"/v1/experiences/batch", b"/v1/sleep-cycles"):
        with connect(daemon) as connection:
            head = HEAD.replace(b"/v1/experiences", path)
            connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
            started = time.monotonic()
            answer = read_to_end(connection)
            assert answer.startswith(b"HTTP/1.1 408"), answer
            assert b"application/problem+json" in answer
            assert 0.3 < time.monotonic() - started < 5 * pace()


def test_slow_and_half_open_clients_do_not_starve_others(daemon: RunningDaemon) -> None:
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(connect(daemon))
            half = b"" if number % 3 == 0 else HEAD
            connection.sendall(half + (b"Content-Length: 99\r\n\r\n{" if number % 3 == 1 else b""))
        slowest = 0.0
        for number in range(20):
            started = time.monotonic()
            assert daemon.http.post("/v1/experiences", json=make_exchange(number)).is_success
            assert daemon.http.get("/stats").is_success
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 2 * pace()


def test_slow_uploads_give_way_to_what_is_whole(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(
        max_body_bytes=1_000_000, max_held_bytes=1_000_000, body_timeout_seconds=600
    )
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(daemon)) for _ in range(9)]
        for connection in slow:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 120_000)
        for number in range(5):
            answer = daemon.http.post("/v1/experiences", json=make_exchange(number))
            assert answer.status_code == 201, answer.text
        told, _, _ = select.select(slow, [], [], seconds_left())  # one gave way
        assert told[0].recv(65536).startswith(b"HTTP/1.1 503")
        # What the others hold is what they sent: there is room beside them.
        large = make_exchange(6, system_prompt="s" * 60_000)
        assert daemon.http.post("/v1/experiences", json=large).status_code == 201


def test_too_many_connections_are_told_to_come_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(max_connections=10, header_timeout_seconds=1)
    daemon.http.close()
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connect(daemon))
        time.sleep(0.2)
        with connect(daemon) as one_more:
            one_more.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = read_to_end(one_more)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in answer
    assert b"application/problem+json" in answer
    address = f"http://127.0.0.1:{daemon.http.base_url.port}/healthz"
    wait_until(lambda: httpx.get(address).status_code == 200, "those that went made room")


def ports_spoken_to(daemon: RunningDaemon) -> set[int]:
    """Of its clients."""
    connections = psutil.Process(daemon.process.pid).net_connections()
    established = [one for one in connections if one.status == psutil.CONN_ESTABLISHED]
    return {connection.raddr.port for connection in established}


def test_client_that_does_not_read_is_let_go(
    start_daemon: StartDaemon,
) -> None:
    daemon = start_daemon(stalled_timeout_seconds=0.5, scheduler_interval_seconds=3600)
    large = make_exchange(1) | {"prompt": "p" * 60_000, "response": "A reply. " * 7000}
    for number in range(100):
        exchange = large | {"source_id": str(number), "prompt": f"{number} {large['prompt']}"}
        assert daemon.http.post("/v1/experiences", json=exchange).is_success
    whole = len(daemon.http.get("/v1/experiences?limit=100").content)
    assert whole > 12_000_000
    with connect(daemon, receive_buffer=4096) as connection:
        connection.sendall(b"GET /v1/experiences?limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        port = connection.getsockname()[1]
        select.select([connection], [], [], seconds_left())  # from here on it speaks
        wait_until(lambda: port not in ports_spoken_to(daemon), "it is let go")
        received = read_to_end(connection)
    assert 0 < len(received) < whole


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls_by_certificate_files(
    start_daemon: StartDaemon, authority: trustme.CA, tmp_path: Path
) -> None:
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    issued.private_key_pem.write_to_path(key)
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(certificate, append=number > 0)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    daemon = start_daemon(tls=trusted, tls_certificate=certificate, tls_key=key)
    port = daemon.http.base_url.port
    answer = daemon.http.post(
        "/v1/experiences",
        json=make_exchange(1),
        headers={"Origin": f"https://127.0.0.1:{port}"},
    )
    assert answer.status_code == 201
    with pytest.raises(httpx.ConnectError):  # who does not trust the authority does not connect
        httpx.get(f"https://127.0.0.1:{port}/healthz")
    with pytest.raises(httpx.RemoteProtocolError):  # and nothing is said in the clear
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    assert daemon.stop() in {0, -15}


@pytest.mark.parametrize("missing", ["SAGE_TLS_KEY", "SAGE_TLS_CERTIFICATE"])
def test_half_a_certificate_is_no_setting(data_dir: Path, missing: str) -> None:
    both = {"SAGE_TLS_KEY": "a.key", "SAGE_TLS_CERTIFICATE": "a.pem"}
    del both[missing]
    environment = {"SAGE_DATA_DIR": str(data_dir), **both}
    result = run_command("serve", environment=environment, check=False)
    assert result.returncode == 1
    assert "go together" in result.stderr


def test_certificate_that_is_none_is_said_before_anything_starts(
    data_dir: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    key, other = tmp_path / "server.key", tmp_path / "other.pem"
    authority.issue_cert("localhost").private_key_pem.write_to_path(key)
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(other)
    for certificate in (tmp_path / "none.pem", key, other):
        environment = {
            "SAGE_DATA_DIR": str(data_dir),
            "SAGE_PORT": str(free_port()),
            "SAGE_TLS_CERTIFICATE": str(certificate),
            "SAGE_TLS_KEY": str(key),
        }
        result = run_command("serve", environment=environment, check=False)
        assert result.returncode == 1
        assert "cannot serve TLS" in result.stderr


def test_forwarded_addresses_are_believed_of_named_proxies_only(
    start_daemon: StartDaemon,
) -> None:
    for proxies, statuses in (("", [200, 429]), ("127.0.0.1", [200, 200])):
        daemon = start_daemon(requests_per_minute=1, trusted_proxies=proxies)
        answers = [
            daemon.http.get("/stats", headers={"X-Forwarded-For": f"192.0.2.{number}"})
            for number in (1, 2)
        ]
        assert [answer.status_code for answer in answers] == statuses
        daemon.stop()
