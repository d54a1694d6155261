"""What is live of an instance, in a vLLM: by policy after a promotion and a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.engine import Database
from app.errors import ArtifactError, RuntimeUnavailable
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.worker.push_watch import PushWatch
from app.worker.vllm_push import VllmPush
from tests.publishing import NOW, publish, roll_back
from tests.runtimes.test_vllm import fake_vllm


def made(db: Database, url: str | None, root: Path) -> VllmPush:
    directory = root.parent / "vllm"
    return VllmPush(db, url=url, directory=directory, root=root, guard=FileGuard(db, root=root))


def test_promotions_and_rollbacks_are_followed(db: Database, data_dir: Path) -> None:
    root = data_dir / "checkpoints"
    publish(db, root, range(40))
    with fake_vllm() as fake:
        push = made(db, fake.url, root)
        watch = PushWatch(db, flag="push_to_vllm", push=push.push)
        watch.look()
        assert fake.calls == []  # no policy asks for it
        put_instance(db, "default", {"policy": {"push_to_vllm": True}}, now=NOW)
        watch.look()
        publish(db, root, range(40, 80))
        watch.look()
        watch.look()
        assert fake.calls == ["load default@1", "load default@2"]
        roll_back(db, root)
        assert push.push("default").model == "default@1"
        assert fake.calls[2:] == []
        weights = (data_dir / "vllm" / "default@1" / "adapter_model.safetensors").read_bytes()
        assert weights.startswith(b"weights of ")


def test_vllm_that_is_off_is_said(db: Database, data_dir: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="off"):
        made(db, None, data_dir).push("default")


def test_damaged_checkpoint_is_brought_nowhere(db: Database, data_dir: Path) -> None:
    root = data_dir / "checkpoints"
    publish(db, root, range(40))
    (weights,) = root.glob("default/*/adapter_model.safetensors")
    weights.write_bytes(b"weights of something else")
    with fake_vllm() as fake:
        with pytest.raises(ArtifactError):
            made(db, fake.url, root).push("default")
        assert fake.calls == []
