"""A checkpoint on its way into Ollama: made once, live by a copy, and old ones go."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.errors import RuntimeRefuses, RuntimeUnavailable
from app.runtimes.ollama import (
    Ollama,
    PushedModel,
    is_live,
    make_live,
    model_name,
    withdraw,
)
from tests.runtimes.fake_ollama import fake_ollama

TEMPLATE = "{{ .System }}{{ range .Messages }}{{ .Content }}{{ end }}"


def pushed(directory: Path, number: int, *, base: str | None = None) -> PushedModel:
    file = directory / f"merged-{number}.gguf"
    file.write_bytes(b"GGUF" + bytes([number]) * 3_000_000)
    return PushedModel(
        name=model_name("sprout", number, f"01M8DS8GY0ZX48TG526N4EVW{number:02}"),
        file=file,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        system="You are SAGE.",
        template=TEMPLATE,
        stops=("<|im_end|>",),
        base=base,
    )


def bring(ollama: Ollama, model: PushedModel, *, keep: int) -> None:
    make_live(ollama, "sprout", model.name, lambda: model, system=model.system, keep=keep)


def test_merged_model_is_made_with_all_that_ollama_would_guess(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        model = pushed(tmp_path, 3)
        bring(ollama, model, keep=2)
        assert model.name == "sprout:3-6n4evw03"
        told = fake.models[model.name]
        assert fake.models["sprout:latest"] == told
        assert told["system"] == "You are SAGE."
        assert told["template"] == TEMPLATE
        assert told["parameters"] == {"stop": ["<|im_end|>"]}
        assert told["files"] == {"merged-3.gguf": f"sha256:{model.sha256}"}
        assert len(fake.blobs[f"sha256:{model.sha256}"]) == 3_000_004


def test_promotion_and_rollback_are_a_copy_and_send_nothing_again(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        first, second = pushed(tmp_path, 1), pushed(tmp_path, 2)
        for model in (first, second):
            bring(ollama, model, keep=2)
        fake.calls.clear()
        bring(ollama, first, keep=2)  # rolled back
        assert fake.calls == [
            "GET /api/tags",
            "POST /api/show",
            "POST /api/copy",
            "GET /api/tags",
        ]
        assert fake.models["sprout:latest"] == fake.models[first.name]
        assert is_live(ollama, "sprout", first.name, system=first.system)
        assert not is_live(ollama, "sprout", first.name, system="You are Moss.")
        assert not is_live(ollama, "sprout", second.name, system=second.system)


def test_what_was_taken_back_to_the_base_is_withdrawn(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        model = pushed(tmp_path, 1)
        bring(ollama, model, keep=2)
        withdraw(ollama, "sprout")
        withdraw(ollama, "sprout")
        assert set(fake.models) == {model.name}
        fake.models["sprout:latest"] = {"model": "made by a person"}
        withdraw(ollama, "sprout")
        assert "sprout:latest" in fake.models


def test_blob_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        model = pushed(tmp_path, 1)
        ollama.make(model)
        fake.calls.clear()
        ollama.make(model)
        assert fake.calls == ["HEAD /api/blobs/sha256", "POST /api/create"]


def test_old_models_of_the_instance_go_and_nobody_elses(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        others = {"sprout:mine", "sprouts:1-abcdefgh", "phi4:14b"}
        fake.models |= {name: {"model": name} for name in others}
        models = [pushed(tmp_path, number) for number in (2, 9, 10, 11)]
        for model in models:
            bring(ollama, model, keep=1)
        left = set(fake.models) - others
        assert left == {"sprout:latest", models[2].name, models[3].name}
        assert others <= set(fake.models)


@pytest.mark.parametrize(
    ("version", "takes"), [("0.34.0", True), ("0.34.1", False), ("1.0.0", False)]
)
def test_older_ollama_takes_the_small_file(tmp_path: Path, version: str, *, takes: bool) -> None:
    with fake_ollama(version) as fake, Ollama(fake.url) as ollama:
        assert ollama.takes_adapters() == takes
        fake.models["qwen2.5:0.5b"] = {"model": "qwen2.5:0.5b"}
        model = pushed(tmp_path, 1, base="qwen2.5:0.5b")
        if takes:
            ollama.make(model)
            told = fake.models[model.name]
            assert (told["from"], list(told["adapters"])) == ("qwen2.5:0.5b", ["merged-1.gguf"])
        else:
            with pytest.raises(RuntimeRefuses, match="no longer supported"):
                ollama.make(model)


def test_what_ollama_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    with fake_ollama() as fake, Ollama(fake.url) as ollama:
        wrong = pushed(tmp_path, 1)
        wrong.file.write_bytes(b"altered")
        with pytest.raises(RuntimeRefuses, match="digest mismatch"):
            ollama.make(wrong)
        with pytest.raises(RuntimeRefuses, match="POST /api/copy"):
            ollama.copy("nothing", "else")
        assert fake.models == {}


def test_ollama_that_is_not_there_is_named() -> None:
    with (
        Ollama("http://127.0.0.1:9") as nobody,
        pytest.raises(RuntimeUnavailable, match="SAGE_OLLAMA_URL"),
    ):
        nobody.list_digests()
