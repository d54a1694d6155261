"""What is live of an instance, in an Ollama: on promotion, on rollback, and after it was away."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from app.artifacts.archive import Archive
from app.artifacts.exports import MadeExport
from app.db.engine import Database
from app.domain.checkpoint import CheckpointFile
from app.domain.export import ExportOrder
from app.errors import ExportNotReady, RuntimeUnavailable
from app.services.file_guard import FileGuard
from app.services.instances import put_instance
from app.worker.ollama_push import OllamaPush
from app.worker.push_watch import PushWatch
from tests.publishing import NOW, current, publish, roll_back
from tests.runtimes.fake_ollama import FakeOllama, fake_ollama
from tests.runtimes.test_ollama_template import CHATML
from tests.support import Reopen

POLICY = {"push_to_ollama": True, "ollama_models_kept": 1}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base's directory, as far as its chat template is concerned."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"")
    config = {"chat_template": CHATML, "eos_token": "<|im_end|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def pushing(reopen: Reopen, base: Path) -> Database:
    """A database whose default instance is brought into Ollama, and has that base."""
    changed = reopen(base_model=str(base))
    put_instance(changed, "default", {"policy": POLICY}, now=NOW)
    return changed


class Maker:
    """Makes files that tell what was ordered; at first it is not ready as often as was said."""

    def __init__(self, directory: Path, *, waits: int = 0) -> None:
        self.directory = directory
        self.waits = waits
        self.orders: list[ExportOrder] = []

    def __call__(self, order: ExportOrder) -> MadeExport:
        """As `ExportMaker.get`."""
        if self.waits:
            self.waits -= 1
            raise ExportNotReady("It is being made.")
        self.orders.append(order)
        content = f"{order.export} of {order.checkpoint}".encode()
        file = self.directory / order.export.value
        file.write_bytes(content)
        described = CheckpointFile(
            name=file.name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        return MadeExport(content=Archive(parts=(file,), sizes=(len(content),)), file=described)


def push_to(db: Database, fake: FakeOllama | None, maker: Maker, root: Path) -> OllamaPush:
    url = fake.url if fake else None
    guard = FileGuard(db, root=root)
    return OllamaPush(db, url=url, root=root, guard=guard, get_export=maker)


def look(db: Database, push: OllamaPush) -> None:
    PushWatch(db, flag="push_to_ollama", push=push.push).look()


def live(fake: FakeOllama) -> str | None:
    found = fake.models.get("default:latest")
    return str(found["model"]) if found else None


def test_promotions_and_rollbacks_are_followed(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root, maker = data_dir / "checkpoints", Maker(tmp_path)
    with fake_ollama() as fake:
        push = push_to(pushing, fake, maker, root)
        look(pushing, push)
        assert fake.models == {}  # at the bare base there is nothing to bring
        publish(pushing, root, range(40))
        look(pushing, push)
        first = live(fake)
        publish(pushing, root, range(40, 80))
        look(pushing, push)
        second = live(fake)
        assert second is not None
        assert second.startswith("default:2-")
        told = fake.models[second]
        assert "SAGE" in told["system"]
        assert "<|im_start|>" in told["template"]
        assert told["parameters"]["stop"][0] == "<|im_end|>"
        roll_back(pushing, root)
        look(pushing, push)
        assert live(fake) == first
        assert len(maker.orders) == 2  # the rollback made and sent nothing
        roll_back(pushing, root)
        look(pushing, push)
        assert (current(pushing), live(fake)) == (None, None)


def test_promotion_while_the_one_before_is_brought_is_brought_too(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    publish(pushing, root, range(40))

    def promote_another() -> None:
        fake.on_create = bool
        publish(pushing, root, range(40, 80))

    with fake_ollama() as fake:
        fake.on_create = promote_another
        brought = push_to(pushing, fake, Maker(tmp_path), root).push("default")
        assert brought.checkpoint_id == current(pushing)
        assert live(fake) == brought.model


def test_changed_system_prompt_reaches_the_model_that_is_live(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    publish(pushing, root, range(40))
    with fake_ollama() as fake:
        push = push_to(pushing, fake, Maker(tmp_path), root)
        look(pushing, push)
        put_instance(
            pushing, "default", {"policy": POLICY, "system_prompt": "You are Moss."}, now=NOW
        )
        look(pushing, push)
        assert fake.models["default:latest"]["system"] == "You are Moss."
        calls = len([call for call in fake.calls if "create" in call])
        look(pushing, push)
        assert len([call for call in fake.calls if "create" in call]) == calls == 2


def test_what_is_being_made_comes_at_a_later_look(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    publish(pushing, root, range(40))
    with fake_ollama() as fake:
        push = push_to(pushing, fake, Maker(tmp_path, waits=2), root)
        with pytest.raises(ExportNotReady):
            push.push("default")
        look(pushing, push)
        assert live(fake) is None
        look(pushing, push)
        assert live(fake) is not None
        fake.models.clear()  # somebody emptied it
        look(pushing, push)
        assert live(fake) is not None


def test_without_the_policy_nothing_is_brought_by_itself(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    publish(pushing, root, range(40))
    put_instance(pushing, "default", {}, now=NOW)
    with fake_ollama() as fake:
        push = push_to(pushing, fake, Maker(tmp_path), root)
        look(pushing, push)
        assert fake.calls == []
        assert push.push("default").model == live(fake)


def test_older_ollama_with_the_base_gets_the_adapter(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root, maker = data_dir / "checkpoints", Maker(tmp_path)
    publish(pushing, root, range(40))
    settings = {"policy": POLICY, "model_name": "ollama:qwen2.5:0.5b"}
    put_instance(pushing, "default", settings, now=NOW)
    with fake_ollama("0.30.2") as fake:
        fake.models["qwen2.5:0.5b"] = {"model": "qwen2.5:0.5b"}
        look(pushing, push_to(pushing, fake, maker, root))
        told = fake.models["default:latest"]
        assert (told["from"], list(told["adapters"])) == ("qwen2.5:0.5b", ["adapter.gguf"])


def test_ollama_that_is_off_or_away_is_said_and_stops_nothing(
    pushing: Database, data_dir: Path, tmp_path: Path
) -> None:
    root = data_dir / "checkpoints"
    publish(pushing, root, range(40))
    with pytest.raises(RuntimeUnavailable, match="off"):
        push_to(pushing, None, Maker(tmp_path), root).push("default")
    look(pushing, push_to(pushing, None, Maker(tmp_path), root))
    with fake_ollama() as fake:
        push = push_to(pushing, fake, Maker(tmp_path), root)
    look(pushing, push)  # it is gone now
    with pytest.raises(RuntimeUnavailable, match="SAGE_OLLAMA_URL"):
        push.push("default")
