"""`sage-sleep healthcheck`: whether a daemon answers, however it listens."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.support import RunningDaemon, StartDaemon, free_port, run_command
from tests.tls import make_authority


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def check(daemon: RunningDaemon, *arguments: str, **settings: Any) -> tuple[int, str]:
    """Run it with a daemon's own settings; returns exit code and what was said."""
    environment = {
        "SAGE_DATA_DIR": str(daemon.data_dir),
        "SAGE_PORT": str(daemon.http.base_url.port),
        "http_proxy": "http://127.0.0.1:9",
        **{f"SAGE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    result = run_command("healthcheck", *arguments, environment=environment, check=False)
    return result.returncode, result.stdout + result.stderr


def test_daemon_in_the_clear_is_healthy_until_it_ends(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    assert check(daemon)[0] == 0
    daemon.process.send_signal(signal.SIGSTOP)
    code, said = check(daemon, "--timeout", "0.5")
    daemon.process.send_signal(signal.SIGCONT)
    assert (code, "does not answer" in said) == (1, True)
    daemon.stop()
    code, said = check(daemon)
    assert (code, "does not answer" in said) == (1, True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104  # guarded by a token, for a moment
        pytest.param("::", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    ],
)
def test_daemon_with_a_certificate_for_another_name_is_healthy(
    start_daemon: StartDaemon, data_dir: Path, tmp_path: Path, host: str
) -> None:
    run_command(
        "tokens", "create", "reader", "--scope", "read",
        environment={"SAGE_DATA_DIR": str(data_dir)},
    )  # fmt: skip
    authority = make_authority(tmp_path / "authority", "sage.example")
    context = authority.context
    context.check_hostname = False
    daemon = start_daemon(tls=context, host=host, **authority.settings)
    code, said = check(daemon, host=host, **authority.settings)
    assert code == 0, said
    assert said.startswith(f"https://{'[::1]' if host == '::' else '127.0.0.1'}:")
    assert check(daemon)[0] == 1  # as it was asked before, in the clear
    daemon.stop()
    assert check(daemon, **authority.settings)[0] == 1


def test_something_else_on_the_port_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        environment = {"SAGE_PORT": str(other.getsockname()[1])}
        arguments = ("healthcheck", "--timeout", "0.5")
        assert run_command(*arguments, environment=environment, check=False).returncode == 1


def test_images_ask_by_it() -> None:
    dockerfile = (REPOSITORY / "docker" / "Dockerfile").read_text()
    asked = [json.loads(found) for found in re.findall(r"HEALTHCHECK .*CMD (\[.*\])", dockerfile)]
    assert asked == [["sage-sleep", "healthcheck"]] * 2
