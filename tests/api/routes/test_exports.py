"""Checkpoints as files for other runtimes, over a real socket and made by the real process."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import gguf
import pytest
from safetensors.torch import load

from app.artifacts.exports import MAKING_DIRECTORY
from app.client import AsyncSleepClient, SleepClient
from app.clock import utc_now
from app.db.engine import Database
from app.services import instances
from tests.exports.tiny import Adapted, make_adapted
from tests.publishing import publish
from tests.support import RunningDaemon

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return make_adapted(tmp_path_factory.mktemp("tiny"), settings={})


def publish_adapter(db: Database, root: Path, made: Adapted) -> str:
    """A checkpoint of an adapter, as a cycle on that base leaves it."""
    instances.patch_instance(db, "default", {"base_model": str(made.base)}, now=utc_now())
    return publish(db, root, range(20), adapter=made.adapter, base=made.base)[0]


@pytest.fixture
def checkpoint(db: Database, data_dir: Path, tiny: Adapted) -> str:
    return publish_adapter(db, data_dir / "checkpoints", tiny)


def exports_in(data_dir: Path) -> list[str]:
    root = data_dir / "checkpoints" / ".exports"
    return sorted(path.name for path in root.glob("*/*/*") if MAKING_DIRECTORY not in path.parts)


def test_adapter_is_served_as_any_other_file(
    shared_daemon: RunningDaemon, checkpoint: str, data_dir: Path
) -> None:
    http, path = shared_daemon.http, f"/v1/checkpoints/{checkpoint}/files/adapter.gguf"
    whole = http.get(path)
    assert whole.status_code == 200, whole.text
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    assert whole.headers["content-disposition"].endswith('-adapter.gguf"')
    head = http.head(path)
    assert head.headers["content-length"] == str(len(whole.content))
    part = http.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    known = http.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304
    file = data_dir / "adapter.gguf"
    file.write_bytes(whole.content)
    reader = gguf.GGUFReader(file)
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["adapter.type"].contents() == "lora"
    assert len(reader.tensors) == 2 * 14


def test_what_a_checkpoint_is_stays_what_it_was(
    shared_daemon: RunningDaemon, checkpoint: str
) -> None:
    http, path = shared_daemon.http, f"/v1/checkpoints/{checkpoint}"
    before = http.get(path).json(), http.get(f"{path}/archive").content
    assert http.get(f"{path}/files/adapter.gguf").status_code == 200
    assert (http.get(path).json(), http.get(f"{path}/archive").content) == before
    assert "adapter.gguf" not in json.dumps(before[0])


def test_merged_models_are_made_once_and_go_with_the_checkpoint(
    shared_daemon: RunningDaemon, checkpoint: str, data_dir: Path
) -> None:
    http, path = shared_daemon.http, f"/v1/checkpoints/{checkpoint}"
    names = ("merged-f16.gguf", "merged-q8_0.gguf")
    first = [http.get(f"{path}/files/{name}") for name in names]
    assert [answer.status_code for answer in first] == [200, 200], first[0].text
    kept = data_dir / "checkpoints" / ".exports"
    stamps = {file: file.stat().st_mtime_ns for file in kept.rglob("*.gguf")}
    assert [http.get(f"{path}/files/{name}").content for name in names] == [
        answer.content for answer in first
    ]
    assert {file: file.stat().st_mtime_ns for file in kept.rglob("*.gguf")} == stamps
    assert exports_in(data_dir) == sorted(names)
    http.post("/v1/instances/default/rollback", json={})
    deleted = http.delete(path)
    assert deleted.status_code == 204, deleted.text
    assert exports_in(data_dir) == []
    assert http.get(f"{path}/files/{names[0]}").status_code == 404


def test_safetensors_come_as_one_archive(
    shared_daemon: RunningDaemon, checkpoint: str, tiny: Adapted
) -> None:
    answer = shared_daemon.http.get(f"/v1/checkpoints/{checkpoint}/files/merged-safetensors.tar")
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        found = {Path(member.name).name: tar.extractfile(member) for member in tar}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= found.keys()
    opened = found["model.safetensors"]
    assert opened is not None
    merged, bare = load(opened.read()), load((tiny.base / "model.safetensors").read_bytes())
    assert merged.keys() == bare.keys()
    changed = {name for name in bare if not bool((merged[name] == bare[name]).all())}
    assert len(changed) == 14


def test_file_that_was_altered_is_made_anew(
    shared_daemon: RunningDaemon, checkpoint: str, data_dir: Path
) -> None:
    path = f"/v1/checkpoints/{checkpoint}/files/adapter.gguf"
    whole = shared_daemon.http.get(path).content
    (file,) = (data_dir / "checkpoints" / ".exports").rglob("adapter.gguf/adapter.gguf")
    file.write_bytes(whole[:-1])
    assert shared_daemon.http.get(path).content == whole
    file.unlink()
    assert shared_daemon.http.get(path).content == whole


def test_four_bits_are_refused_with_the_reason(
    shared_daemon: RunningDaemon, checkpoint: str
) -> None:
    path = f"/v1/checkpoints/{checkpoint}/files/merged-q4_0.gguf"
    problem = shared_daemon.http.get(path)
    assert problem.status_code == 409
    assert problem.json()["type"] == "urn:sage-sleep:problem:merge-loses-learning"
    assert "0.34" in problem.json()["detail"]
    unknown = shared_daemon.http.get(f"/v1/checkpoints/{checkpoint}/files/merged-q5_0.gguf")
    assert unknown.status_code == 404
    assert "merged-q8_0.gguf" in unknown.json()["files"]


def test_adapter_that_does_not_fit_says_why(
    shared_daemon: RunningDaemon, db: Database, data_dir: Path, tmp_path: Path
) -> None:
    made = make_adapted(tmp_path, settings={"use_dora": True})
    checkpoint = publish_adapter(db, data_dir / "checkpoints", made)
    for name in ("adapter.gguf", "merged-q8_0.gguf", "merged-safetensors.tar"):
        problem = shared_daemon.http.get(f"/v1/checkpoints/{checkpoint}/files/{name}")
        assert problem.status_code == 409
        assert problem.json()["type"] == "urn:sage-sleep:problem:adapter-not-exportable"
        assert "DoRA" in problem.json()["detail"]
    assert exports_in(data_dir) == []


def test_base_that_is_another_or_gone_is_named(
    shared_daemon: RunningDaemon, db: Database, data_dir: Path, tmp_path: Path
) -> None:
    made = make_adapted(tmp_path, settings={})
    checkpoint = publish_adapter(db, data_dir / "checkpoints", made)
    path = f"/v1/checkpoints/{checkpoint}/files/adapter.gguf"
    config = json.loads((made.base / "config.json").read_text())
    (made.base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    problem = shared_daemon.http.get(path)
    assert (problem.status_code, problem.json()["type"]) == (
        409,
        "urn:sage-sleep:problem:export-base-changed",
    )
    assert "config" in problem.json()["detail"]
    (made.base / "config.json").unlink()
    problem = shared_daemon.http.get(path)
    assert (problem.status_code, problem.json()["type"]) == (
        409,
        "urn:sage-sleep:problem:base-model-absent",
    )
    assert str(tmp_path) not in problem.text


def test_client_brings_an_export_whole(
    shared_daemon: RunningDaemon, checkpoint: str, tmp_path: Path
) -> None:
    url = str(shared_daemon.http.base_url)
    target = tmp_path / "new" / "q8.gguf"
    with SleepClient(url) as client:
        assert client.download_export(checkpoint, "merged-q8_0.gguf", target) == target
    served = shared_daemon.http.get(f"/v1/checkpoints/{checkpoint}/files/merged-q8_0.gguf")
    assert target.read_bytes() == served.content
    assert [path.name for path in target.parent.iterdir()] == ["q8.gguf"]


async def bring(url: str, checkpoint: str, target: Path) -> Path:
    async with AsyncSleepClient(url) as client:
        return await client.download_export(checkpoint, "adapter.gguf", target)


def test_client_in_asyncio_does_the_same(
    shared_daemon: RunningDaemon, checkpoint: str, tmp_path: Path
) -> None:
    import asyncio

    url = str(shared_daemon.http.base_url)
    target = asyncio.run(bring(url, checkpoint, tmp_path / "adapter.gguf"))
    served = shared_daemon.http.get(f"/v1/checkpoints/{checkpoint}/files/adapter.gguf")
    assert target.read_bytes() == served.content
