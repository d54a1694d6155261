"""Anchors: the base's own answers, made once; KL to the base from what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.domain.recipe import Recipe
from app.training.anchors import (
    ANCHOR_TOKENS,
    SYSTEM_TOKENS,
    general_prompts,
    kl_to_base,
    load_or_make_references,
    log_probabilities,
    mixed,
)
from app.training.evaluate import base_retention, measure_retention
from app.training.examples import targets_of
from app.training.kept import KeptFiles
from app.training.loading import BaseModel
from app.training.lora import attach_adapter, trainable_parameters
from app.training.states import supervised_states


def test_packaged_prompts_are_apart() -> None:
    prompts = general_prompts()
    general = {prompt for prompt, _answer in prompts.general}
    assert (len(prompts.anchors), len(general), len(prompts.probes)) == (40, 12, 8)
    assert len({*prompts.anchors, *general, *prompts.probes}) == 60


def test_anchors_are_the_bases_own_words_and_kept(tiny_base: BaseModel, tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    made = load_or_make_references(tiny_base, kept)
    example = made.anchors.examples[0]
    targets = targets_of(example)
    assert 0 < len(targets) <= ANCHOR_TOKENS
    states = supervised_states(tiny_base, [example])[0]
    assert log_probabilities(tiny_base.model, states).argmax(dim=-1).tolist() == targets.tolist()
    (file,) = (tmp_path / "a").iterdir()
    written = file.stat().st_ino
    again = load_or_make_references(tiny_base, kept).anchors
    assert file.stat().st_ino == written  # a file that is made again has another
    for first, second in zip(made.anchors.examples, again.examples, strict=True):
        assert torch.equal(first["input_ids"], second["input_ids"])
        assert torch.equal(first["labels"], second["labels"])
    for one, other in zip(made.anchors.hidden, again.hidden, strict=True):
        assert torch.equal(one, other)


def test_damaged_file_is_made_again(tiny_base: BaseModel, tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    made = load_or_make_references(tiny_base, kept)
    (file,) = (tmp_path / "a").iterdir()
    file.write_bytes(b"no tensors")
    again = load_or_make_references(tiny_base, kept)
    assert torch.equal(made.general.nll[0], again.general.nll[0])
    assert file.stat().st_size > 1000


def test_base_has_no_kl_to_itself_and_its_own_loss(tiny_base: BaseModel) -> None:
    references = load_or_make_references(tiny_base, KeptFiles(None, "a"))
    kept, measured = base_retention(references), measure_retention(tiny_base, references)
    assert measured.general_kl.value == pytest.approx(0.0, abs=1e-6)
    assert measured.general_loss.value == pytest.approx(kept.general_loss.value)
    assert measured.anchor_loss.value == pytest.approx(kept.anchor_loss.value)


def test_live_references_are_asked_as_sessions_ask(tiny_base: BaseModel, tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, "a")
    bare = load_or_make_references(tiny_base, kept)
    in_session = load_or_make_references(tiny_base, kept, ("You are Sprout.", "You are Willow."))
    asked = [
        str(tiny_base.tokenizer.decode(example["input_ids"]))
        for example in (*in_session.anchors.examples, *in_session.general.examples)
    ]
    assert all("You are Sprout." in text for text in asked[::2])
    assert all("You are Willow." in text for text in asked[1::2])
    turns = [text.count("<|im_start|>user") for text in asked]
    assert sorted(turns) == [1] * 26 + [2] * 26
    for text, (prompt, answer) in zip(asked[40:], general_prompts().general, strict=True):
        assert text.count(prompt) == text.count(answer) == 1  # no pair is its own history
    for one, other in zip(bare.general.examples, in_session.general.examples, strict=True):
        assert torch.equal(targets_of(one), targets_of(other))
    assert len(list((tmp_path / "a").iterdir())) == 2
    measured = measure_retention(tiny_base, in_session)
    assert measured.general_kl.value == pytest.approx(0.0, abs=1e-6)


def test_long_system_prompt_is_asked_under_in_part(tiny_base: BaseModel) -> None:
    in_session = load_or_make_references(tiny_base, KeptFiles(None, "a"), ("word " * 3000,))
    lengths = [len(one["input_ids"]) for one in in_session.anchors.examples]
    assert min(lengths) > SYSTEM_TOKENS
    assert max(lengths) < 2 * SYSTEM_TOKENS


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 20), (0.25, 10), (1.0, 40)])
def test_share_of_anchors_is_asked_so_and_evenly_spread(
    share: float, count: int, tiny_base: BaseModel
) -> None:
    kept = KeptFiles(None, "a")
    bare = load_or_make_references(tiny_base, kept).anchors
    in_session = load_or_make_references(tiny_base, kept, ("You are Sprout.",)).anchors
    anchors = mixed(bare, in_session, share)
    is_asked_so = [
        one is other for one, other in zip(anchors.examples, in_session.examples, strict=True)
    ]
    assert sum(is_asked_so) == sum(is_asked_so[:20]) * 2 == count
    assert all(
        one is (other if taken else of_bare)
        for one, other, of_bare, taken in zip(
            anchors.hidden, in_session.hidden, bare.hidden, is_asked_so, strict=True
        )
    )


def test_kl_is_that_of_the_whole_distribution_and_has_a_gradient(tiny_base: BaseModel) -> None:
    references = load_or_make_references(tiny_base, KeptFiles(None, "a"))
    example, base_hidden = references.anchors.examples[0], references.anchors.hidden[0]
    ids = example["input_ids"].unsqueeze(0)
    with torch.no_grad():
        expected = tiny_base.model(input_ids=ids).logits[0].log_softmax(dim=-1)
    adapted = attach_adapter(tiny_base.model, Recipe(r=4)).adapted
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        actual = tiny_base.model(input_ids=ids).logits[0].log_softmax(dim=-1)
    start = len(ids[0]) - len(base_hidden) - 1
    wanted = (expected.exp() * (expected - actual)).sum(dim=-1)[start:-1]
    decoder = tiny_base.model.get_decoder()  # type: ignore[no-untyped-call]
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state[0, start:-1]
    found = kl_to_base(tiny_base.model, base_hidden, hidden)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-3)
    assert float(found.detach().min()) > -1e-6
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None and bool(p.grad.any()) for p in trainable_parameters(adapted))
