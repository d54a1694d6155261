"""Checkpoints in a mirror of a real rclone: a WebDAV server, which has no hashes, and a disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.directories import describe_files, write_manifest
from app.domain.checkpoint import ADAPTER_FILE, CONFIG_FILE, MANIFEST_FILE, CheckpointFile
from app.domain.manifest import Manifest
from app.domain.mirror import is_remote
from app.errors import (
    BaseDiffers,
    CheckpointFilesAltered,
    CheckpointFilesMissing,
    CheckpointNotFound,
    RuntimeRefuses,
    RuntimeUnavailable,
)
from app.runtimes.mirror import INCOMING_PREFIX, Mirror
from app.runtimes.rclone import Rclone, find_rclone
from tests.fuzz.test_inputs import whole_manifest
from tests.runtimes.webdav import PASSWORD, WebDav, obscured, of_webdav

try:
    PROGRAM = find_rclone()
except RuntimeUnavailable as absent:
    pytest.skip(f"a real rclone is the point: {absent}", allow_module_level=True)

CHECKPOINT_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
NAME = f"default/3-{CHECKPOINT_ID}"


@pytest.fixture(scope="module")
def webdav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDav]:
    directory = tmp_path_factory.mktemp("served")
    server = WebDav(PROGRAM, directory, directory.with_suffix(".log"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["webdav", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Mirror, Path]]:
    """A mirror, and where what is mirrored lies on a disk."""
    if request.param == "disk":
        environment = {"RCLONE_CONFIG_BOX_TYPE": "local"}
        yield made_mirror(environment, f"box:{tmp_path}/mirror"), tmp_path / "mirror"
        return
    server: WebDav = request.getfixturevalue("webdav")
    environment = of_webdav(server)
    yield made_mirror(environment, "box:backup"), server.directory / "backup"
    shutil.rmtree(server.directory / "backup", ignore_errors=True)


def made_mirror(environment: dict[str, str], remote: str) -> Mirror:
    rclone = Rclone(PROGRAM, environment={**os.environ, **environment}, timeout_seconds=60)
    return Mirror(rclone=rclone, remote=remote)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, list[CheckpointFile]]:
    """A published checkpoint: its directory and its files."""
    directory = tmp_path / "published"
    directory.mkdir()
    (directory / CONFIG_FILE).write_text("{}")
    (directory / ADAPTER_FILE).write_bytes(os.urandom(300_000))
    files = describe_files(directory)
    return directory, [*files, write_manifest(directory, manifest_of(files))]


def manifest_of(published: tuple[CheckpointFile, ...], /, **changed: Any) -> dict[str, Any]:
    return {
        **whole_manifest(),
        "id": CHECKPOINT_ID,
        "name": NAME,
        "instance": "default",
        "cycle": {"id": "01Y", "number": 3},
        "files": {f.name: {"size_bytes": f.size_bytes, "sha256": f.sha256} for f in published},
        **changed,
    }


def of_base(manifest: Manifest) -> bool:
    return manifest.base_model.revision == str(whole_manifest()["base_model"]["revision"])


def flip(path: Path) -> None:
    """Change one byte, and neither size nor time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


Place = tuple[Mirror, Path]
Published = tuple[Path, list[CheckpointFile]]


def test_published_is_listed_and_pulled_to_the_byte(
    place: Place, checkpoint: Published, tmp_path: Path
) -> None:
    mirror, _ = place
    directory, files = checkpoint
    assert list(mirror.list_all().names) == []
    assert mirror.publish(directory, NAME, files)
    assert not mirror.publish(directory, NAME, files)
    assert list(mirror.list_all().names) == [NAME]
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    assert mirror.pull(NAME, pulled, is_same_base=of_base).id == CHECKPOINT_ID
    assert {p.name: p.read_bytes() for p in pulled.iterdir()} == {
        p.name: p.read_bytes() for p in directory.iterdir()
    }


def test_manifests_are_read_at_once_and_one_that_lies_is_told_from_the_others(
    place: Place, checkpoint: Published
) -> None:
    mirror, root = place
    directory, files = checkpoint
    mirror.publish(directory, NAME, files)
    other = f"other/12-{CHECKPOINT_ID[:-1]}W"
    shutil.copytree(root / NAME, root / other)
    for stray in ("default/notes/manifest.json", "x/manifest.json", f"UP/1-{CHECKPOINT_ID}/a"):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_text("{}")
    listing = mirror.list_all()
    assert (listing.names, listing.is_cut) == ((other, NAME), False)
    found = mirror.read_manifests([*listing.names, f"gone/1-{CHECKPOINT_ID}"])
    assert isinstance(found[NAME], Manifest)
    assert isinstance(found[other], CheckpointFilesAltered)
    assert isinstance(found[f"gone/1-{CHECKPOINT_ID}"], CheckpointFilesMissing)


def test_flipped_byte_is_refused_by_pull_and_repaired_by_publish(
    place: Place, checkpoint: Published, tmp_path: Path
) -> None:
    mirror, root = place
    directory, files = checkpoint
    mirror.publish(directory, NAME, files)
    flip(root / NAME / ADAPTER_FILE)
    assert mirror.find_damaged(mirror.place(NAME), files) == [ADAPTER_FILE]
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    with pytest.raises(CheckpointFilesAltered, match=ADAPTER_FILE):
        mirror.pull(NAME, pulled, is_same_base=of_base)
    assert mirror.publish(directory, NAME, files)
    assert mirror.find_damaged(mirror.place(NAME), files) == []


def test_upload_that_was_cut_is_not_listed_and_is_made_whole(
    place: Place, checkpoint: Published
) -> None:
    mirror, root = place
    directory, files = checkpoint
    incoming = root / "default" / f"{INCOMING_PREFIX}3-{CHECKPOINT_ID}"
    incoming.mkdir(parents=True)
    (incoming / ADAPTER_FILE).write_bytes((directory / ADAPTER_FILE).read_bytes()[:1000])
    assert list(mirror.list_all().names) == []
    assert mirror.publish(directory, NAME, files)
    assert list(mirror.list_all().names) == [NAME]
    assert mirror.find_damaged(mirror.place(NAME), files) == []
    assert not incoming.exists()


def test_damage_on_this_machine_does_not_get_a_final_name(
    place: Place, checkpoint: Published
) -> None:
    mirror, _ = place
    directory, files = checkpoint
    flip(directory / ADAPTER_FILE)
    with pytest.raises(CheckpointFilesAltered, match="doctor"):
        mirror.publish(directory, NAME, files)
    assert list(mirror.list_all().names) == []


def test_removed_is_gone_and_may_be_removed_again(place: Place, checkpoint: Published) -> None:
    mirror, root = place
    directory, files = checkpoint
    mirror.publish(directory, NAME, files)
    incoming = root / "default" / f"{INCOMING_PREFIX}3-{CHECKPOINT_ID}"
    shutil.copytree(root / NAME, incoming)
    for _ in range(2):
        mirror.remove(NAME)
        assert list((root / "default").iterdir() if (root / "default").exists() else ()) == []


def test_outage_is_said_without_a_secret_and_overcome(
    webdav: WebDav, checkpoint: Published
) -> None:
    directory, files = checkpoint
    environment = of_webdav(webdav)
    mirror = made_mirror(environment, "box:outage")
    webdav.stop()
    try:
        for act in (
            lambda: mirror.publish(directory, NAME, files),
            mirror.list_all,
        ):
            with pytest.raises(RuntimeUnavailable) as raised:
                act()
            said = str(raised.value)
            assert not any(value in said for value in (PASSWORD, *environment.values()))
    finally:
        webdav.start()
    assert mirror.publish(directory, NAME, files)
    assert list(mirror.list_all().names) == [NAME]


def test_wrong_password_is_said_without_it(webdav: WebDav) -> None:
    wrong = obscured(PROGRAM, "wrong")
    mirror = made_mirror({**of_webdav(webdav), "RCLONE_CONFIG_BOX_PASS": wrong}, "box:")
    with pytest.raises(RuntimeUnavailable, match="401") as raised:
        list(mirror.list_all().names)
    assert wrong not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": f"other/3-{CHECKPOINT_ID}"}, "another checkpoint"),
        ({"id": "01ARZ3NDEKTSV4RRFFQ69G5FAW"}, "another checkpoint"),
        ({"format": 99}, "another version"),
        ({"files": {"../../evil": {"size_bytes": 1, "sha256": "0" * 64}}}, "no checkpoint has"),
        ({"plan": None}, "cannot be read"),
        ({"created_at": "yesterday"}, "no cycle writes"),
        ({"created_at": "2026-01-01T00:00:00"}, "no cycle writes"),
        ({"base_model": {"name": "\ud800", "revision": "0" * 64}}, "no cycle writes"),
        ({"base_model": {"name": "x" * 1000, "revision": "0" * 64}}, "no cycle writes"),
    ],
)
def test_manifest_that_lies_is_refused(
    changed: dict[str, Any], why: str, checkpoint: Published, tmp_path: Path
) -> None:
    directory, files = checkpoint
    mirror = made_mirror({"RCLONE_CONFIG_BOX_TYPE": "local"}, f"box:{tmp_path}/mirror")
    mirrored = tmp_path / "mirror" / NAME
    shutil.copytree(directory, mirrored)
    lie = manifest_of(tuple(files[:2]), **changed)
    (mirrored / MANIFEST_FILE).write_text(json.dumps(lie))
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    with pytest.raises(CheckpointFilesAltered, match=why):
        mirror.pull(NAME, pulled, is_same_base=of_base)
    assert list(pulled.iterdir()) == []


def test_another_base_and_what_is_not_there_are_refused(
    place: Place, checkpoint: Published, tmp_path: Path
) -> None:
    mirror, _ = place
    directory, files = checkpoint
    with pytest.raises(CheckpointNotFound):
        mirror.read_manifest(NAME)
    mirror.publish(directory, NAME, files)
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    with pytest.raises(BaseDiffers, match="another base"):
        mirror.pull(NAME, pulled, is_same_base=lambda _: False)
    assert list(pulled.iterdir()) == []


def test_file_larger_than_promised_is_cut_and_refused(
    place: Place, checkpoint: Published, tmp_path: Path
) -> None:
    mirror, root = place
    directory, files = checkpoint
    mirror.publish(directory, NAME, files)
    with (root / NAME / ADAPTER_FILE).open("ab") as file:
        file.write(bytes(20_000_000))
    pulled = tmp_path / "pulled"
    pulled.mkdir()
    with pytest.raises((CheckpointFilesAltered, CheckpointFilesMissing)):
        mirror.pull(NAME, pulled, is_same_base=of_base)
    assert sum(path.stat().st_size for path in pulled.iterdir()) < 10_000_000


def test_only_named_remotes_are_taken() -> None:
    assert is_remote("box:")
    assert is_remote("my-box_2:some where/deep")
    for text in (
        ":webdav,url=http://h,pass=x:",
        "box,pass=x:p",
        "--config:x",
        "/a/b",
        "box",
        "",
        "box:../up",
        "box:a\nb",
    ):
        assert not is_remote(text), text
    with pytest.raises(RuntimeRefuses, match="name:path"):
        made_mirror({}, ":local:/tmp")


def test_slow_remote_is_given_up(webdav: WebDav) -> None:
    rclone = Rclone(PROGRAM, environment={**os.environ, **of_webdav(webdav)}, timeout_seconds=0.01)
    with pytest.raises(RuntimeUnavailable, match="longer than"):
        rclone.ask("lsf", "box:")


def test_command_that_is_to_stop_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "rclone"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    rclone = Rclone(program, environment={}, timeout_seconds=600, should_stop=lambda: True)
    with pytest.raises(RuntimeUnavailable, match="stopped"):
        rclone.ask("version")


def test_rclone_gets_nothing_else_of_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "rclone"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    environment = {"SAGE_TOKEN": "x", "RCLONE_DRY_RUN": "true", "RCLONE_CONFIG_BOX_TYPE": "local"}
    answer = Rclone(program, environment=environment, timeout_seconds=10).ask("version")
    assert "RCLONE_CONFIG_BOX_TYPE=local" in answer.text
    assert "SAGE_TOKEN" not in answer.text
    assert "RCLONE_DRY_RUN" not in answer.text


def test_name_that_a_remote_lists_twice_is_one(tmp_path: Path) -> None:
    program = tmp_path / "rclone"
    line = f"{NAME}/{MANIFEST_FILE}"
    program.write_text(f"#!/bin/sh\nprintf '{line}\\n{line}\\n'\n")
    program.chmod(0o755)
    mirror = Mirror(rclone=Rclone(program, environment={}, timeout_seconds=60), remote="box:x")
    assert mirror.list_all().names == (NAME,)
