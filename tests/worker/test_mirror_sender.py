"""Copies to a mirror: kept up, caught up after an outage, and taken away; by a real rclone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.db.engine import Database
from app.domain.checkpoint import ADAPTER_FILE
from app.errors import RuntimeUnavailable
from app.runtimes.rclone import find_rclone
from app.services import mirroring
from app.services.erasure import erase_experience
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.services.registry import get_checkpoint, list_provenance
from app.worker.mirror_sender import MirrorSender
from tests.patience import wait_until
from tests.publishing import NOW, publish
from tests.runtimes.webdav import PASSWORD, WebDav, of_webdav

try:
    PROGRAM = find_rclone()
except RuntimeUnavailable as absent:
    pytest.skip(f"a real rclone is the point: {absent}", allow_module_level=True)

REMOTE = "box:sage"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def webdav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDav]:
    directory = tmp_path_factory.mktemp("webdav")
    (directory / "served").mkdir()
    server = WebDav(PROGRAM, directory / "served", directory / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mirrored(webdav: WebDav, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the mirror's files lie."""
    for name, value in of_webdav(webdav).items():
        monkeypatch.setenv(name, value)
    yield webdav.directory / "sage"
    shutil.rmtree(webdav.directory / "sage", ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender(
    db: Database,
    root: Path,
    clock: Clock,
    mirrored: Path,  # noqa: ARG001  # its environment
) -> MirrorSender:
    put_instance(db, "default", {"policy": {"push_to_mirror": True}}, now=NOW)
    return MirrorSender(db, remote=REMOTE, root=root, guard=FileGuard(db, root=root), clock=clock)


def names(mirrored: Path) -> set[str]:
    return {f"default/{path.name}" for path in (mirrored / "default").glob("*")}


def name_of(db: Database, checkpoint_id: str) -> str:
    return get_checkpoint(db, checkpoint_id).row.name


def test_outage_is_said_without_a_secret_and_all_is_caught_up_after_it(
    db: Database, root: Path, clock: Clock, sender: MirrorSender, mirrored: Path, webdav: WebDav
) -> None:
    published = [publish(db, root, range(n, n + 20), after=2.5 - n / 100)[0] for n in (0, 20)]
    webdav.stop()
    try:
        assert sender.look() == 1  # nor would it answer for the other
        state = sender.read_state()
        assert (state.waiting, state.failed_at) == (2, NOW)
        assert state.fault is not None
        assert "connection refused" in state.fault
        secrets = (PASSWORD, os.environ["RCLONE_CONFIG_BOX_PASS"])
        assert not any(secret in state.fault for secret in secrets)
        assert sender.look() == 0  # not before its time
    finally:
        webdav.start()
    clock.pass_by(5)
    assert sender.look() == 2
    assert names(mirrored) == {name_of(db, one) for one in published}
    assert (sender.read_state().waiting, sender.read_state().fault) == (0, None)
    assert sender.look() == 0


def test_what_lies_there_is_read_again_and_repaired(
    db: Database, root: Path, clock: Clock, sender: MirrorSender, mirrored: Path
) -> None:
    flipped, gone = (publish(db, root, range(n, n + 20), after=2.5 - n / 100)[0] for n in (0, 20))
    sender.look()
    file = mirrored / name_of(db, flipped) / ADAPTER_FILE
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(mirrored / name_of(db, gone))
    assert sender.look() == 0  # not at every look: every byte is read
    clock.pass_by(8 * 86400)
    assert sender.look() == 2
    assert file.read_bytes() == content
    assert names(mirrored) == {name_of(db, one) for one in (flipped, gone)}
    assert sender.look() == 0


def test_clock_that_jumped_back_holds_nothing_up(
    db: Database, root: Path, clock: Clock, sender: MirrorSender, mirrored: Path, webdav: WebDav
) -> None:
    publish(db, root, range(20))
    webdav.stop()
    try:
        assert sender.look() == 1
    finally:
        webdav.start()
    clock.pass_by(-400 * 86400)
    assert sender.look() == 1
    assert len(names(mirrored)) == 1


def test_damaged_checkpoint_is_marked_and_holds_up_no_other(
    db: Database, root: Path, sender: MirrorSender, mirrored: Path
) -> None:
    bad, _ = publish(db, root, range(20))
    good, _ = publish(db, root, range(20, 40), after=2.0)
    (root / name_of(db, bad) / ADAPTER_FILE).write_bytes(b"other")
    assert sender.look() == 2
    assert names(mirrored) == {name_of(db, good)}
    assert get_checkpoint(db, bad).row.status == "damaged"
    assert sender.look() == 0


def test_erasure_reaches_the_mirror(
    db: Database, root: Path, sender: MirrorSender, mirrored: Path
) -> None:
    first, _ = publish(db, root, range(20))
    second, _ = publish(db, root, range(20, 40), after=2.0)
    sender.look()
    used = [one.experience_id for one in list_provenance(db, second) if one.role == "train"]
    erase_experience(db, used[0], now=NOW)
    assert sender.look() == 1
    assert names(mirrored) == {name_of(db, first)}
    assert mirroring.list_unwanted(db) == []
    assert sender.look() == 0


def test_mirror_of_earlier_that_is_away_holds_up_nothing_in_the_one_of_now(
    db: Database, root: Path, sender: MirrorSender, mirrored: Path
) -> None:
    good, _ = publish(db, root, range(20))
    erased, _ = publish(db, root, range(20, 40), after=2.0)
    for remote in ("attic:sage", REMOTE, "zoo:sage"):  # one alone of them is configured
        mirroring.begin_copy(db, erased, remote, now=NOW)
    used = [one.experience_id for one in list_provenance(db, erased) if one.role == "train"]
    erase_experience(db, used[0], now=NOW)
    assert sender.look() == 4
    assert names(mirrored) == {name_of(db, good)}
    assert {copy.remote for copy in mirroring.list_unwanted(db)} == {"attic:sage", "zoo:sage"}
    assert "section" in (sender.read_state().fault or "")


def test_copy_that_a_dead_daemon_had_begun_is_made_whole_or_taken_away(
    db: Database, root: Path, sender: MirrorSender, mirrored: Path
) -> None:
    checkpoint_id, _ = publish(db, root, range(20))
    mirroring.begin_copy(db, checkpoint_id, REMOTE, now=NOW)
    name = name_of(db, checkpoint_id)
    half = mirrored / "default" / f".incoming-{name.partition('/')[2]}"
    half.mkdir(parents=True)
    (half / ADAPTER_FILE).write_bytes(b"half")
    used = [one.experience_id for one in list_provenance(db, checkpoint_id) if one.role == "train"]
    erase_experience(db, used[0], now=NOW)
    assert sender.look() == 1
    assert names(mirrored) == set()


def test_thread_copies_what_is_published_and_ends_when_told(
    db: Database, root: Path, sender: MirrorSender, mirrored: Path
) -> None:
    checkpoint_id, _ = publish(db, root, range(20))
    sender.start()
    wait_until(lambda: sender.read_state().waiting == 0, "the copy is made")
    sender.stop()
    assert names(mirrored) == {name_of(db, checkpoint_id)}


def test_without_rclone_it_says_what_to_install(
    db: Database, root: Path, sender: MirrorSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(db, root, range(20))
    monkeypatch.setattr("app.runtimes.rclone.sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    sender.look()
    assert "sage-sleep[mirror]" in (sender.read_state().fault or "")


def test_without_a_mirror_nothing_is_done(db: Database, root: Path) -> None:
    publish(db, root, range(20))
    put_instance(db, "default", {"policy": {"push_to_mirror": True}}, now=NOW)
    sender = MirrorSender(db, remote=None, root=root, guard=FileGuard(db, root=root))
    sender.start()
    assert sender.look() == 0
    assert (sender.read_state().waiting, sender.read_state().fault) == (0, None)
    sender.stop()
