"""A base model is found without the hub's package, in the cache as that package lays it out."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from app.artifacts.bases import find_base_model, find_fault, hub_cache
from app.errors import BaseModelNotFound


def lay_out(cache: Path, name: str) -> Path:
    """A snapshot as the hub's package leaves one."""
    room = cache / f"models--{name.replace('/', '--')}"
    snapshot = room / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (room / "refs").mkdir()
    (room / "refs" / "main").write_text(snapshot.name)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"")
    return snapshot


def test_hub_model_is_found_where_the_hubs_package_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = lay_out(tmp_path / "hub", "owner/model")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    theirs = snapshot_download("owner/model", cache_dir=tmp_path / "hub", local_files_only=True)
    assert find_base_model("owner/model") == snapshot == Path(theirs)
    assert find_fault("owner/model") is None
    (snapshot / "model.safetensors").unlink()
    assert find_fault("owner/model") is not None


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/data/hub"}, "/data/hub/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HF_HOME": "/data/hub", "HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
    ],
)
def test_cache_is_where_the_variables_say(environment: dict[str, str], place: str) -> None:
    assert hub_cache(environment) == Path(place)


def test_what_is_missing_is_said_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in (str(tmp_path / "garden"), "owner/garden", "garden", "~/a/garden"):
        fault = find_fault(name)
        assert fault is not None
        assert "garden is not on this machine: run `sage-sleep model fetch" in fault
        assert str(tmp_path) not in fault
        with pytest.raises(BaseModelNotFound):
            find_base_model(name)
