"""A checkpoint is here whole and verified, or not at all."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.client import (
    Checkpoint,
    CheckpointFile,
    DaemonUnavailable,
    DownloadCorrupt,
    RequestRefused,
    SleepClient,
)
from app.client.downloads import check_names, unpack
from tests.client.scripted import Answer, ScriptedServer
from tests.support import RunningDaemon

NAMES = ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_checkpoint_is_downloaded_verified_and_not_fetched_twice(
    published: list[str], client: SleepClient, tmp_path: Path
) -> None:
    there = tmp_path / "adapters"
    path = client.download_checkpoint(published[1], there)
    assert path == there / published[1]
    assert names_in(path) == NAMES
    assert path.joinpath("adapter_model.safetensors").read_bytes().endswith(published[1].encode())
    assert names_in(there) == [published[1]]
    before = path.stat().st_ino
    assert client.download_checkpoint(published[1], there) == path
    assert path.stat().st_ino == before


def test_altered_copy_is_replaced(
    published: list[str], client: SleepClient, tmp_path: Path
) -> None:
    path = client.download_checkpoint(published[1], tmp_path)
    (path / "adapter_config.json").write_text("{x")
    (path / "stray.txt").write_text("x")
    client.download_checkpoint(published[1], tmp_path)
    assert names_in(path) == NAMES
    assert (path / "adapter_config.json").read_text() == "{}"


def test_unknown_deleted_and_missing_files_are_refused_and_leave_nothing(
    published: list[str], client: SleepClient, daemon: RunningDaemon, tmp_path: Path
) -> None:
    there = tmp_path / "adapters"
    with pytest.raises(RequestRefused):
        client.download_checkpoint("01J", there)
    checkpoint = client.get_checkpoint(published[0])
    shutil.rmtree(daemon.data_dir / "checkpoints" / checkpoint.name)
    with pytest.raises(RequestRefused):
        client.download_checkpoint(checkpoint, there)
    assert names_in(there) == []


def test_old_leftovers_are_swept_and_a_running_download_is_not(
    published: list[str], client: SleepClient, tmp_path: Path
) -> None:
    for name, age_seconds in (("old", 200_000), ("new", 10)):
        (tmp_path / f".staging-{name}").mkdir()
        at = time.time() - age_seconds
        os.utime(tmp_path / f".staging-{name}", (at, at))
    client.download_checkpoint(published[0], tmp_path)
    assert ".staging-old" not in names_in(tmp_path)
    assert ".staging-new" in names_in(tmp_path)


@pytest.fixture
def answers(published: list[str], daemon: RunningDaemon) -> tuple[Answer, bytes, dict[str, str]]:
    """The daemon's own answers, for a server that can break them: checkpoint, archive, headers."""
    path = f"/v1/checkpoints/{published[1]}"
    archive = daemon.http.get(f"{path}/archive")
    headers = {"ETag": archive.headers["etag"], "Content-Type": "application/x-tar"}
    return Answer(body=daemon.http.get(path).content), archive.content, headers


def test_broken_download_goes_on_where_it_broke(
    answers: tuple[Answer, bytes, dict[str, str]], scripted: ScriptedServer, tmp_path: Path
) -> None:
    found, archive, headers = answers
    rest = {**headers, "Content-Range": f"bytes 700-{len(archive) - 1}/{len(archive)}"}
    scripted.answers = [
        found,
        Answer(body=archive, headers=headers, cut=700),
        Answer(status=503),
        Answer(body=archive[700:], headers=rest, status=206),
    ]
    with SleepClient(scripted.url) as client:
        path = client.download_checkpoint("x", tmp_path)
    assert names_in(path) == NAMES
    assert scripted.asked[-1].headers["range"] == "bytes=700-"
    assert scripted.asked[-1].headers["if-range"] == headers["ETag"]


def flip(archive: bytes) -> bytes:
    return archive[:600] + bytes([archive[600] ^ 1]) + archive[601:]


@pytest.mark.parametrize(
    ("spoil", "etag", "message"),
    [
        (flip, None, "SHA-256"),
        (lambda archive: archive + b"x" * 512, None, "longer"),
        (lambda archive: archive, '"another"', "ETag"),
    ],
)
def test_wrong_bytes_are_refused_and_leave_nothing(
    answers: tuple[Answer, bytes, dict[str, str]],
    scripted: ScriptedServer,
    tmp_path: Path,
    spoil: Callable[[bytes], bytes],
    etag: str | None,
    message: str,
) -> None:
    found, archive, headers = answers
    headers = {**headers, "ETag": etag or headers["ETag"]}
    scripted.answers = [found, Answer(body=spoil(archive), headers=headers)]
    there = tmp_path / "there"
    with SleepClient(scripted.url) as client, pytest.raises(DownloadCorrupt, match=message):
        client.download_checkpoint("x", there)
    assert names_in(there) == []


def test_download_that_never_ends_gives_up(
    answers: tuple[Answer, bytes, dict[str, str]], scripted: ScriptedServer, tmp_path: Path
) -> None:
    found, archive, headers = answers
    scripted.answers = [found, Answer(body=archive, headers=headers, cut=0)]
    with (
        SleepClient(scripted.url, retry_seconds=0.5) as client,
        pytest.raises(DaemonUnavailable, match="broke off"),
    ):
        client.download_checkpoint("x", tmp_path)


def make_checkpoint(**files: bytes) -> Checkpoint:
    described = tuple(
        CheckpointFile(name=name, size_bytes=len(content), sha256=sha256(content).hexdigest())
        for name, content in files.items()
    )
    values: dict[str, Any] = dict.fromkeys(Checkpoint.__dataclass_fields__)
    values |= {"id": "01J", "name": "default/1-01J", "files": described, "raw": {}}
    return Checkpoint(**values)


def make_tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive.seek(0)
    return archive


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = (tarfile.TarInfo("default-1-01J/a.json"), b"{}")


@pytest.mark.parametrize(
    "members",
    [
        [],
        [(tarfile.TarInfo("/etc/a.json"), b"{}")],
        [(tarfile.TarInfo("default-1-01J/../../a.json"), b"{}")],
        [(tarfile.TarInfo("a.json"), b"{}")],
        [GOOD, GOOD],
        [GOOD, (tarfile.TarInfo("default-1-01J/b.json"), b"{}")],
        [(tarfile.TarInfo("default-1-01J/a.json"), b"[]")],
        [(tarfile.TarInfo("default-1-01J/a.json"), b"{} ")],
        [(link("default-1-01J/a.json", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        [(link("default-1-01J/a.json", tarfile.LNKTYPE, "default-1-01J/b"), b"")],
        [(link("default-1-01J/a.json", tarfile.DIRTYPE, ""), b"")],
    ],
    ids=[
        "empty", "absolute", "dots", "outside", "twice", "unexpected", "altered", "longer",
        "symlink", "hard link", "directory",
    ],
)  # fmt: skip
def test_archive_that_holds_anything_else_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    outside = tmp_path / "outside"
    inside = outside / "inside"
    inside.mkdir(parents=True)
    with pytest.raises(DownloadCorrupt):
        unpack(make_tar(*members), inside, make_checkpoint(**{"a.json": b"{}"}))
    assert names_in(outside) == ["inside"]
    assert not any(path.is_symlink() for path in inside.iterdir())


def test_archive_of_exactly_the_files_is_unpacked(tmp_path: Path) -> None:
    unpack(make_tar(GOOD), tmp_path, make_checkpoint(**{"a.json": b"{}"}))
    assert (tmp_path / "a.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["../a.json", "/a.json", "a/b.json", ".json", "a.pkl", "a", ""])
def test_registry_that_names_unsafe_files_is_not_believed(name: str) -> None:
    with pytest.raises(DownloadCorrupt):
        check_names(make_checkpoint(**{name: b""}))


@pytest.mark.parametrize("name", ["..", "../01J", "/01J", ".", ""])
def test_checkpoint_whose_id_is_a_path_is_not_believed(name: str) -> None:
    with pytest.raises(DownloadCorrupt):
        check_names(replace(make_checkpoint(), id=name))


def test_httpx_is_asked_for_unpacked_bytes_only(
    answers: tuple[Answer, bytes, dict[str, str]], scripted: ScriptedServer, tmp_path: Path
) -> None:
    found, archive, headers = answers
    scripted.answers = [found, Answer(body=archive, headers=headers)]
    with SleepClient(scripted.url) as client:
        client.download_checkpoint("x", tmp_path)
    assert scripted.asked[1].headers["accept-encoding"] == "identity"
