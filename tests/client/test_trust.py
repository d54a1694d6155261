"""A daemon whose certificate a private CA issued: clients and commands that know it, or do not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from app.client import (
    AsyncSleepClient,
    AuthorityUnusable,
    DaemonUnavailable,
    ExperienceCollector,
    SleepClient,
    Spool,
    SpoolSender,
)
from tests.patience import pace
from tests.support import RunningDaemon, StartDaemon, make_exchange, run_command
from tests.tls import Authority, make_authority, start_with_tls

READ_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("stats",),
    ("instances",),
    ("cycles",),
    ("checkpoints",),
    ("watch", "--once"),
    ("export",),
    ("sleep", "--dry-run"),
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "authority", "127.0.0.1")


@pytest.fixture
def daemon(start_daemon: StartDaemon, authority: Authority, tmp_path: Path) -> RunningDaemon:
    return start_with_tls(
        start_daemon,
        authority,
        base_model=tmp_path / "no-model",
        scheduler_interval_seconds=3600,
    )


def test_clients_that_know_the_authority_talk_to_it(
    url: str, authority: Authority, tmp_path: Path
) -> None:
    with SleepClient(url, verify=str(authority.ca_file)) as client:
        assert client.post_experience(make_exchange(1)).stored
        with Spool(tmp_path / "spool.db") as spool, SpoolSender(client, spool) as sender:
            sender.post(make_exchange(2))
            assert sender.flush(10)
    with SleepClient(url, verify=authority.context) as client:
        assert client.get_stats().instances

    async def ask() -> int:
        async with AsyncSleepClient(url, verify=authority.ca_file) as client:
            return sum((await client.get_stats()).instances[0].counts.values())

    assert asyncio.run(ask()) == 2
    with ExperienceCollector(
        url=url, verify=authority.ca_file, spool_path=tmp_path / "collector.db"
    ) as collector:
        assert not collector.add_exchange("Who are you?", "I am SAGE; we learn.")["spooled"]


def test_client_that_does_not_know_it_says_so_at_once(
    url: str, authority: Authority, tmp_path: Path
) -> None:
    stranger = make_authority(tmp_path / "stranger", "127.0.0.1")
    for verify in (True, stranger.ca_file):
        started = time.monotonic()
        with (
            SleepClient(url, verify=verify, retry_seconds=60) as client,
            pytest.raises(DaemonUnavailable, match=r"not trusted.*--ca-file") as refused,
        ):
            client.get_stats()
        assert refused.value.status is None
        assert time.monotonic() - started < 10 * pace()

    async def ask() -> None:
        async with AsyncSleepClient(url) as client:
            await client.get_stats()

    with pytest.raises(DaemonUnavailable, match="not trusted"):
        asyncio.run(ask())
    with (
        SleepClient(url.replace("127.0.0.1", "localhost"), verify=authority.ca_file) as client,
        pytest.raises(DaemonUnavailable, match="not trusted"),
    ):
        client.get_stats()  # the right authority, and a certificate for another name


def test_file_that_is_no_authority_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for verify in (tmp_path / "none.pem", empty):
        with pytest.raises(AuthorityUnusable, match="CA file"):
            SleepClient(verify=verify)
    result = run_command("stats", "--ca-file", str(empty), environment={}, check=False)
    assert result.returncode == 1
    assert "CA file" in result.stderr


def test_commands_take_the_authority_from_the_option_or_the_environment(
    daemon: RunningDaemon, authority: Authority
) -> None:
    environment = {
        "SAGE_PORT": str(daemon.http.base_url.port),
        "SAGE_TLS_CERTIFICATE": str(authority.certificate),
        "SAGE_TLS_KEY": str(authority.key),
    }
    known = {**environment, "SAGE_CA_FILE": str(authority.ca_file)}
    for arguments in READ_COMMANDS:
        run_command(*arguments, environment=known)
    url = str(daemon.http.base_url)
    run_command("stats", "--url", url, "--ca-file", str(authority.ca_file), environment={})
    answers: tuple[tuple[tuple[str, ...], str], ...] = (
        (("instances", "put", "sprout-a"), "sprout-a has"),
        (("rollback",), "nothing to roll back"),
        (("dismiss",), "candidate"),
        (("promote", "01J"), "no checkpoint"),
        (("cancel",), "No cycle"),
    )
    for arguments, said in answers:
        result = run_command(*arguments, environment=known, check=False)
        assert said in result.stdout + result.stderr, arguments
    strange = run_command("stats", environment=environment, check=False)
    assert strange.returncode == 3
    assert "not trusted" in strange.stderr
