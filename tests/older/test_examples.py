"""Training examples as the older scripts ask for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.errors import BaseModelNotFound, InvalidImportFile
from app.errors import TrainingSetUnreadable as Unreadable
from app.older import (
    RaisingTrainingDataBuilder,
    create_training_dataset_from_buffer,
    load_training_set,
)


@pytest.fixture
def builder(buffer_path: Path, tiny_model: Path) -> RaisingTrainingDataBuilder:
    return RaisingTrainingDataBuilder(
        experience_buffer_path=buffer_path, model_name=tiny_model, system_prompt="You are a test."
    )


def test_session_22_gives_the_numbers_of_the_older_scripts(
    shared_data: Path, tmp_path: Path
) -> None:
    records = json.loads((shared_data / "exchanges-qwen2.5-0.5b.json").read_text("utf-8"))
    path = tmp_path / "buffer.json"
    path.write_text(json.dumps({"experiences": [r for r in records if r["session"] == 22]}))
    made = create_training_dataset_from_buffer(
        path, 0.0, tmp_path / "set.pt", model_name=shared_data / "qwen2.5-tokenizer"
    )
    stats = made["stats"]
    assert stats["num_examples"] == 2
    assert stats["avg_length_tokens"] == 237.5
    assert round(stats["avg_salience"], 3) == 0.704
    assert {name: round(value, 3) for name, value in stats["salience_breakdown"].items()} == {
        "surprise": 1.0,
        "novelty": 1.0,
        "arousal": 0.556,
        "reward": 0.55,
        "conflict": 0.417,
    }
    assert stats["session_distribution"] == {22: 2}


def test_training_set_is_sorted_by_salience(builder: RaisingTrainingDataBuilder) -> None:
    examples = builder.build_training_set(min_salience=0.0)
    saliences = [example["salience"] for example in examples]
    assert len(examples) == 12
    assert saliences == sorted(saliences, reverse=True)
    assert [e["experience_id"] for e in builder.build_training_set(0.0, max_examples=3)] == [
        e["experience_id"] for e in examples[:3]
    ]


def test_examples_below_min_salience_are_left_out(builder: RaisingTrainingDataBuilder) -> None:
    examples = builder.build_training_set(min_salience=0.6)
    assert 0 < len(examples) < 12
    assert all(example["salience"] >= 0.6 for example in examples)


def test_example_has_every_field(builder: RaisingTrainingDataBuilder) -> None:
    example = builder.build_training_set(min_salience=0.0)[0]
    assert set(example) == {
        "input_ids", "labels", "attention_mask", "salience", "salience_breakdown",
        "experience_id", "session", "phase",
    }  # fmt: skip
    assert example["input_ids"].shape == example["labels"].shape == example["attention_mask"].shape
    assert example["session"] in {1, 2}


def test_stats_of_an_empty_set_are_zero(builder: RaisingTrainingDataBuilder) -> None:
    stats = builder.get_stats([])
    assert stats["num_examples"] == 0
    assert stats["avg_salience"] == stats["min_salience"] == stats["max_salience"] == 0.0


def test_stats_describe_the_set(builder: RaisingTrainingDataBuilder) -> None:
    examples = builder.build_training_set(min_salience=0.0)
    stats = builder.get_stats(examples)
    assert stats["max_salience"] == examples[0]["salience"]
    assert stats["min_salience"] == examples[-1]["salience"]
    assert stats["session_distribution"] == {1: 6, 2: 6}


def test_batch_is_padded(builder: RaisingTrainingDataBuilder) -> None:
    examples = builder.build_training_set(min_salience=0.0)
    batches = builder.prepare_batch(examples, 5)
    assert [len(batch["salience"]) for batch in batches] == [5, 5, 2]
    assert len(builder.prepare_batch(examples)) == 12
    batch = builder.prepare_batch(examples, 4)[0]
    longest = max(len(example["input_ids"]) for example in examples[:4])
    assert batch["input_ids"].shape == (4, longest)
    padding = batch["attention_mask"] == 0
    assert bool((batch["input_ids"][padding] == builder.tokenizer.pad_token_id).all())
    assert bool((batch["labels"][padding] == -100).all())
    assert builder.prepare_batch([], 4) == []


def test_saved_set_loads_without_running_code(
    builder: RaisingTrainingDataBuilder, tmp_path: Path
) -> None:
    examples = builder.build_training_set(min_salience=0.0)
    path = builder.save_training_set(examples, tmp_path / "new" / "set.pt")
    torch.load(path, weights_only=True)
    loaded = load_training_set(path)
    for first, second in zip(examples, loaded, strict=True):
        assert first["experience_id"] == second["experience_id"]
        assert first["salience_breakdown"] == second["salience_breakdown"]
        assert torch.equal(first["input_ids"], second["input_ids"])
        assert torch.equal(first["labels"], second["labels"])


def test_sets_of_the_format_before_are_read(
    builder: RaisingTrainingDataBuilder, tmp_path: Path
) -> None:
    examples = builder.build_training_set(min_salience=0.0)
    older_form = {"format": "sage-training-set-1", "examples": [dict(e) for e in examples]}
    torch.save(older_form, tmp_path / "set.pt")
    assert len(load_training_set(tmp_path / "set.pt")) == 12


def test_saved_set_is_a_list_of_examples(
    builder: RaisingTrainingDataBuilder, tmp_path: Path
) -> None:
    examples = builder.build_training_set(min_salience=0.0, max_examples=2)
    stored = torch.load(builder.save_training_set(examples, tmp_path / "set.pt"))
    assert [set(example) for example in stored] == [set(example) for example in examples]


def test_example_of_one_record_has_the_identity_prompt_unless_told_otherwise(
    builder: RaisingTrainingDataBuilder,
) -> None:
    record = builder.experiences[0]
    with_system = builder.build_example(record)
    without = builder.build_example(record, include_system=False)
    text = builder.tokenizer.decode(with_system["input_ids"])
    assert "You are a test." in text
    assert "You are a test." not in builder.tokenizer.decode(without["input_ids"])
    targets = [int(label) for label in with_system["labels"] if label != -100]
    assert record["response"] in str(builder.tokenizer.decode(targets))


def test_stored_total_counts_as_it_stands(tiny_model: Path, tmp_path: Path) -> None:
    components = dict.fromkeys(("surprise", "novelty", "arousal", "reward", "conflict"), 0.1)
    records = [
        {"prompt": "a", "response": "We go.", "salience": {**components, "total": 0.9}},
        {"prompt": "b", "response": "We stay.", "salience": {**components, "total": 0.4}},
        {"prompt": "c", "response": "We wait.", "salience": {"total": 0.8}},
        {"prompt": "d", "response": "We rest.", "salience": components},
    ]
    path = tmp_path / "buffer.json"
    path.write_text(json.dumps(records))
    examples = RaisingTrainingDataBuilder(path, tiny_model).build_training_set()
    assert [example["salience"] for example in examples] == [0.9, 0.8]
    assert examples[0]["salience_breakdown"] == components


def test_builder_needs_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    builder = RaisingTrainingDataBuilder()
    assert builder.buffer_path == tmp_path / "sage-sleep" / "experience_buffer.json"
    assert builder.experiences == []
    assert builder.build_training_set() == []


@pytest.mark.parametrize("stored", [{"format": "other"}, [1, 2], {"examples": [{}]}])
def test_file_of_another_shape_is_no_training_set(stored: Any, tmp_path: Path) -> None:
    path = tmp_path / "set.pt"
    torch.save(stored, path)
    with pytest.raises(Unreadable):
        load_training_set(path)


def test_unreadable_training_sets_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        load_training_set(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no tensors")
    with pytest.raises(Unreadable):
        load_training_set(tmp_path / "text.pt")
    torch.save({"format": Path("code")}, tmp_path / "object.pt")
    with pytest.raises(Unreadable):
        load_training_set(tmp_path / "object.pt")


@pytest.mark.parametrize(
    "text",
    [
        "{", "3", '{"experiences": 3}', "[3]", "[{}]", '[{"prompt": "a", "response": "b"}]',
        '[{"prompt": "a", "response": "b", "salience": {"surprise": 2}}]',
        '[{"prompt": "a", "response": "b", "salience": {"surprise": NaN}}]',
        '[{"prompt": "", "response": "b", "salience": {}}]',
    ],
)  # fmt: skip
def test_garbage_is_no_experience_buffer(text: str, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "buffer.json"
    path.write_text(text)
    with pytest.raises(InvalidImportFile):
        RaisingTrainingDataBuilder(path, tiny_model).build_training_set()


def test_absent_tokenizer_is_an_error_that_says_what_to_do(buffer_path: Path) -> None:
    with pytest.raises(BaseModelNotFound, match="sage-sleep model fetch"):
        RaisingTrainingDataBuilder(buffer_path, "no-such-model")
