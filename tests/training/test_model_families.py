"""Each family's layers, logits and adapters, on tiny models of real configuration classes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from app.domain.experience import TrainingExchange
from app.domain.recipe import Recipe
from app.errors import (
    BaseModelNotFound,
    BaseModelUnsupported,
    ChatTemplateMissing,
    NoTrainableParameters,
    TargetModulesUnmatched,
)
from app.training.anchors import kl_to_base
from app.training.batches import pad_batch
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_example
from app.training.generation import Draw, continue_prompts
from app.training.layers import find_layers, find_reached
from app.training.loading import load_base_model, load_tokenizer, pad_token_of
from app.training.logits import is_plain
from app.training.lora import Attached, attach_adapter, save_adapter
from app.training.loss import losses_of, predicting_states, supervised_loss
from tests.fuzz.conversations import NONE
from tests.training.tiny_families import TINY, make_family, tokenizer_for

RECIPE = Recipe(r=4, lora_alpha=8)
EXCHANGES = [
    TrainingExchange(experience_id=str(n), prompt="Hello.", response=response, salience=NONE)
    for n, response in enumerate(("I am SAGE.", "We wondered together what the morning taught us."))
]
QUICK = (
    "qwen3_moe", "qwen3_5", "gemma2", "gemma3_vision", "phi3", "glm4", "gpt2", "falcon_h1",
    "granite", "cohere", "lfm2", "mamba", "hyperclovax",
)  # fmt: skip
"""One of each kind; `tests.benchmarks.families` shows all of them, with a cycle each."""


def examples_of(name: str) -> list[TrainingExample]:
    encoder = ChatEncoder(tokenizer_for(name), system_prompt="You are SAGE.", max_length=200)
    return [make_example(exchange, encoder) for exchange in EXCHANGES]


def draw_adapter(attached: Attached) -> None:
    torch.manual_seed(1)
    for name, parameter in attached.adapted.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("name", QUICK)
def test_family_is_adapted_whole_and_measured_by_its_own_logits(name: str, tmp_path: Path) -> None:
    model = make_family(name)
    batch = pad_batch(examples_of(name), pad_token_of(tokenizer_for(name)))
    with torch.no_grad():
        bare, _, _ = predicting_states(model, batch)
        assert float(kl_to_base(model, bare, bare).abs().max()) == pytest.approx(0, abs=1e-6)
    attached = attach_adapter(model, RECIPE)
    assert attached.layers.summary.startswith(TINY[name].layers + " layers")
    draw_adapter(attached)

    loss = supervised_loss(model, batch)
    with torch.no_grad():
        own = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1].float()
        targets = batch["labels"][:, 1:]
        expected = torch.nn.functional.cross_entropy(
            own.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none"
        )
        expected = expected[targets.flatten() != -100]
        states, labels, _ = predicting_states(model, batch)
        assert torch.allclose(losses_of(model, states, labels), expected, atol=1e-5)
    assert torch.allclose(loss.nll, expected, atol=1e-5)
    loss.total.backward()  # type: ignore[no-untyped-call]
    learning = [p for p in attached.adapted.parameters() if p.requires_grad]
    assert all(p.grad is not None and bool(p.grad.any()) for p in learning)

    save_adapter(attached.adapted, tmp_path, base_name="tiny")
    again = make_family(name)
    PeftModel.from_pretrained(again, str(tmp_path))
    with torch.no_grad():
        read = again(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1].float()
    assert torch.allclose(read, own, atol=1e-6)


@pytest.mark.parametrize("name", ["lfm2", "mamba", "falcon_h1", "qwen3_5", "bamba"])
def test_family_with_a_cache_of_its_own_continues_as_without_one(name: str) -> None:
    model = make_family(name)
    prompts = [(5, 6, 7, 8, 9, 10), (5, 6, 7, 11), (5, 6, 7, 8, 9, 10)]
    written = continue_prompts(
        model, [Draw(prompt=prompt) for prompt in prompts], new_tokens=4, end_ids=frozenset()
    )
    for prompt, row in zip(prompts, written, strict=True):
        ids = list(prompt)
        for token in row:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            assert float(logits[token]) == pytest.approx(float(logits.max()), abs=1e-4)
            ids.append(token)


def test_towers_routers_and_the_head_are_no_layers_of_the_blocks() -> None:
    seen = find_layers(make_family("gemma3_vision")).names
    assert len(seen) == 14
    assert not any("vision" in name or "lm_head" in name for name in seen)
    mixture = find_layers(make_family("qwen3_next")).names
    assert not any(name.endswith(("mlp.gate", "shared_expert_gate", "lm_head")) for name in mixture)
    routed = find_layers(make_family("llama4")).names
    assert not any("router" in name for name in routed)


def test_adapter_of_the_text_leaves_the_tower_that_has_layers_of_the_same_name() -> None:
    attached = attach_adapter(make_family("gemma3_vision"), Recipe(target_modules=("q_proj",)))
    changed = [name for name, p in attached.adapted.named_parameters() if p.requires_grad]
    assert len(changed) == 2 * 2
    assert all("language_model" in name for name in changed)
    assert attached.layers.adapted == 2


def test_name_that_matches_nothing_is_refused_with_those_that_are_there() -> None:
    for wanted in (("q_proj", "v_proj"), ("all-linear", "nonsense"), ("lm_head",), ("wte",)):
        with pytest.raises(TargetModulesUnmatched) as caught:
            attach_adapter(make_family("gpt2"), Recipe(target_modules=wanted))
        assert caught.value.facts["there"] == ["c_attn", "c_fc", "c_proj"]
        assert "c_attn, c_fc, c_proj" in caught.value.message


def test_layer_that_no_gradient_comes_back_from_is_left_and_named() -> None:
    attached = attach_adapter(make_family("mamba"), RECIPE)
    assert {one.name: one.count for one in attached.layers.left} == {
        "backbone.layers.*.mixer.dt_proj": 2,
        "backbone.layers.*.mixer.out_proj": 2,
    }
    with pytest.raises(NoTrainableParameters, match="dt_proj: none of 2 layers"):
        attach_adapter(make_family("mamba"), Recipe(target_modules=("dt_proj",)))


class Mixture(torch.nn.Module):
    """Four layers that are alike, of which the first one alone is called."""

    def __init__(self, layers: list[torch.nn.Module], router: torch.nn.Module | None) -> None:
        super().__init__()
        self.experts = torch.nn.ModuleList(layers)
        if router is not None:
            self.router = router

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """What the first one says, weighed by the router where there is one."""
        weight = self.router(states)[..., :1] if hasattr(self, "router") else 1.0
        return weight * self.experts[0](states)  # type: ignore[no-any-return]


def plain_layer(outputs: int) -> torch.nn.Module:
    return torch.nn.Linear(32, outputs, bias=False).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("is_routed", [True, False])
def test_layer_that_no_token_came_to_is_reached_where_a_router_may_send_one(
    *, is_routed: bool
) -> None:
    model = make_family("llama")
    for block in model.model.layers:
        block.mlp = Mixture(
            [plain_layer(32) for _ in range(4)], plain_layer(4) if is_routed else None
        )
    layers = find_layers(model)
    assert not any("router" in name for name in layers.names)
    missed = set(layers.names) - find_reached(model, layers)
    uncalled = {f"model.layers.{b}.mlp.experts.{e}" for b in (0, 1) for e in (1, 2, 3)}
    assert missed == (set() if is_routed else uncalled)


def test_layer_that_its_block_does_not_call_is_left_though_other_blocks_call_theirs() -> None:
    model = make_family("llama")
    first, second = (block.mlp for block in model.model.layers)
    second.forward = lambda states: second.down_proj(first.up_proj(states))
    layers = find_layers(model)
    assert set(layers.names) - find_reached(model, layers) == {
        "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj",
    }  # fmt: skip


def test_blocks_that_share_keys_and_values_have_no_layers_for_them() -> None:
    attached = attach_adapter(make_family("gemma3n"), Recipe(target_modules=("k_proj", "v_proj")))
    assert attached.layers.adapted == 2 * 2
    changed = {name for name, p in attached.adapted.named_parameters() if p.requires_grad}
    assert not any(".layers.2." in name or ".layers.3." in name for name in changed)


def test_model_that_keeps_states_of_the_batch_before_is_refused() -> None:
    model = make_family("llama")
    mlp = model.model.layers[0].mlp
    plain, kept = mlp.forward, [torch.zeros(())]

    def forward(states: torch.Tensor) -> torch.Tensor:
        kept.append(plain(states) + kept[-1])
        return kept[-1]

    mlp.forward = forward
    with pytest.raises(BaseModelUnsupported, match="takes no gradient"):
        find_reached(model, find_layers(model))


def test_dropout_leaves_the_experts_and_says_so() -> None:
    attached = attach_adapter(make_family("mixtral"), Recipe(lora_dropout=0.1))
    assert attached.layers.summary.startswith("8 of 12 layers; ")
    assert "without lora_dropout" in attached.layers.summary


@pytest.mark.parametrize(("name", "plain"), [("llama", True), ("granite", False)])
def test_whether_the_product_is_all_is_tried_out(name: str, *, plain: bool) -> None:
    assert is_plain(make_family(name)) is plain


def _llama(path: Path) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=1024, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=4, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(str(path))
    return model


def _quantise(path: Path) -> None:
    stored = json.loads((path / "config.json").read_text())
    stored["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (path / "config.json").write_text(json.dumps(stored))


def test_quantised_base_without_its_package_is_refused_in_the_loaders_words(tmp_path: Path) -> None:
    _llama(tmp_path)
    tokenizer_for("llama").save_pretrained(str(tmp_path))
    _quantise(tmp_path)
    with pytest.raises(BaseModelNotFound, match="pip install -U bitsandbytes"):
        load_base_model(str(tmp_path))


def test_tokenizer_that_is_a_model_alone_is_refused_by_its_name(tmp_path: Path) -> None:
    _llama(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(BaseModelNotFound, match=r"tokenizer\.model"):
        load_tokenizer(str(tmp_path))


def test_tokenizer_without_pad_or_end_takes_the_end_that_the_model_names(tmp_path: Path) -> None:
    _llama(tmp_path)
    bare = copy.deepcopy(tokenizer_for("gpt2"))
    end = bare.convert_tokens_to_ids(bare.eos_token)
    stored = json.loads((tmp_path / "generation_config.json").read_text())
    stored["eos_token_id"] = [end, 7]
    (tmp_path / "generation_config.json").write_text(json.dumps(stored))
    bare.eos_token = None
    bare.pad_token = None
    bare.save_pretrained(str(tmp_path))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.eos_token_id == end
    assert pad_token_of(loaded) == end
    (tmp_path / "generation_config.json").unlink()
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stored, "eos_token_id": None}))
    endless = load_tokenizer(str(tmp_path))
    assert pad_token_of(endless) == 0
    with pytest.raises(ChatTemplateMissing, match="eos_token"):
        ChatEncoder(endless, system_prompt="", max_length=100)
