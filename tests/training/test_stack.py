"""The hand-written decoder against the model's own forward pass and autograd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from app.domain.recipe import ALL_LINEAR, Recipe
from app.errors import TargetModulesUnmatched
from app.training.by_hand.attention import SHAPE_MULTIPLE, Heads, segments_of
from app.training.by_hand.decoder import find_stack
from app.training.by_hand.packing import FILLED_TO, common_prefix, pack_rows
from app.training.chat import IGNORED_LABEL
from app.training.examples import TrainingExample
from app.training.gradients import AutogradGradients, StackGradients
from app.training.lanes import open_lanes
from app.training.loading import BaseModel
from app.training.lora import attach_adapter, trainable_parameters
from app.training.states import supervised_states


def make_qwen() -> PreTrainedModel:
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=200, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False)


def make_examples(
    lengths: tuple[int, ...], prefix: int, vocabulary: int = 200
) -> list[TrainingExample]:
    """Random rows with a common beginning; the second half of each is supervised."""
    generator = torch.Generator().manual_seed(5)
    common = torch.randint(1, vocabulary, (prefix,), generator=generator)
    examples = []
    for number, length in enumerate(lengths):
        rest = torch.randint(1, vocabulary, (length - prefix,), generator=generator)
        ids = torch.cat((common, rest))
        labels = ids.clone()
        labels[: length // 2] = IGNORED_LABEL
        examples.append(
            TrainingExample(
                input_ids=ids, labels=labels, attention_mask=torch.ones_like(ids), salience=1.0,
                salience_breakdown={}, experience_id=str(number), session=None, phase=None,
            )
        )  # fmt: skip
    return examples


def loss_and_gradients(
    base: BaseModel,
    parameters: list[torch.nn.Parameter],
    examples: list[TrainingExample],
    *,
    by_hand: bool,
    lanes: int = 2,
) -> tuple[float, list[torch.Tensor]]:
    """The sum of the losses, and the gradients in the order of `parameters`."""
    weights = torch.linspace(0.5, 1.5, len(examples))
    with opened_gradients(base, by_hand=by_hand, lanes=lanes) as way:
        nll = way.add_cross_entropy(examples, weights)
    return nll, taken_gradients(parameters)


@contextmanager
def opened_gradients(
    base: BaseModel, *, by_hand: bool, lanes: int = 2
) -> Iterator[AutogradGradients | StackGradients]:
    if not by_hand:
        yield AutogradGradients(base)
        return
    stack = find_stack(base.model)
    assert stack is not None
    with open_lanes(lanes) as opened:
        yield StackGradients(stack, opened)


def taken_gradients(parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    for parameter in parameters:
        parameter.grad = None
    return gradients


def base_of(model: PreTrainedModel, tiny_base: BaseModel) -> BaseModel:
    return replace(tiny_base, model=model)


@pytest.mark.parametrize("modules", [("q_proj", "v_proj"), ("o_proj", "up_proj"), (ALL_LINEAR,)])
@pytest.mark.parametrize(
    ("lengths", "prefix"), [((40,), 0), ((30, 41, 37), 0), ((50, 61, 37, 70), 36), ((33, 33), 32)]
)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_loss_and_gradients_are_the_models_own(
    tiny_base: BaseModel,
    family: str,
    lengths: tuple[int, ...],
    prefix: int,
    modules: tuple[str, ...],
) -> None:
    base = tiny_base if family == "llama" else base_of(make_qwen(), tiny_base)
    parameters = drawn_adapter(base, Recipe(r=4, lora_alpha=8, target_modules=modules))
    examples = make_examples(lengths, prefix)
    nll, gradients = loss_and_gradients(base, parameters, examples, by_hand=False)
    own_nll, own_gradients = loss_and_gradients(base, parameters, examples, by_hand=True)
    assert own_nll == pytest.approx(nll, rel=1e-5)
    assert len(own_gradients) == len(gradients) == len(parameters)
    for own, theirs in zip(own_gradients, gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-3)


def drawn_adapter(base: BaseModel, recipe: Recipe, std: float = 0.1) -> list[torch.nn.Parameter]:
    """A new adapter with A and B drawn at random."""
    parameters = trainable_parameters(attach_adapter(base.model, recipe).adapted)
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=std)
    return parameters


@pytest.mark.parametrize("by_hand", [True, False])
def test_divergence_is_nothing_at_the_base_and_grows_away_from_it(
    tiny_base: BaseModel, *, by_hand: bool
) -> None:
    examples = make_examples((30, 41, 37), 10)
    hidden = supervised_states(tiny_base, examples)
    parameters = trainable_parameters(attach_adapter(tiny_base.model, Recipe(r=4)).adapted)
    with opened_gradients(tiny_base, by_hand=by_hand) as way:
        assert way.add_divergence(examples, hidden, 0.5) == pytest.approx(0, abs=1e-3)
        for parameter in parameters:
            torch.nn.init.normal_(parameter, std=0.1)
        assert way.add_divergence(examples, hidden, 0.5) > 0.1


def test_gradients_of_the_divergence_are_those_of_autograd(tiny_base: BaseModel) -> None:
    examples = make_examples((30, 41, 37), 10)
    hidden = supervised_states(tiny_base, examples)
    parameters = drawn_adapter(tiny_base, Recipe(r=4))
    found = []
    for by_hand in (False, True):
        with opened_gradients(tiny_base, by_hand=by_hand) as way:
            kl = way.add_divergence(examples, hidden, 0.5)
        found.append((kl, taken_gradients(parameters)))
    (kl, gradients), (own_kl, own_gradients) = found
    assert own_kl == pytest.approx(kl, rel=1e-4)
    for own, theirs in zip(own_gradients, gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-3)


def test_a_batch_in_parts_adds_up_to_the_whole(
    tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = drawn_adapter(tiny_base, Recipe(r=4))
    examples = make_examples((50, 61, 37, 70), 36)
    nll, whole = loss_and_gradients(tiny_base, parameters, examples, by_hand=True)
    monkeypatch.setattr("app.training.gradients.KEPT_BYTES", 1)
    parts_nll, parts = loss_and_gradients(tiny_base, parameters, examples, by_hand=True)
    assert parts_nll == pytest.approx(nll, rel=1e-5)
    for own, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-3)


def test_same_batch_gives_the_same_bytes_however_threads_meet(tiny_base: BaseModel) -> None:
    parameters = drawn_adapter(tiny_base, Recipe(r=4))
    examples = make_examples((50, 61, 37, 70), 36)
    runs = [loss_and_gradients(tiny_base, parameters, examples, by_hand=True) for _ in range(5)]
    for nll, gradients in runs[1:]:
        assert nll == runs[0][0]
        assert all(map(torch.equal, gradients, runs[0][1]))


@pytest.mark.parametrize("lanes", [1, 3])
def test_any_number_of_lanes_gives_the_same_gradients(tiny_base: BaseModel, lanes: int) -> None:
    parameters = drawn_adapter(tiny_base, Recipe(r=4))
    examples = make_examples((50, 61, 37), 20)
    nll, gradients = loss_and_gradients(tiny_base, parameters, examples, by_hand=True)
    other_nll, others = loss_and_gradients(
        tiny_base, parameters, examples, by_hand=True, lanes=lanes
    )
    assert other_nll == pytest.approx(nll, rel=1e-5)
    for own, theirs in zip(others, gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-3)


def test_bf16_costs_about_as_much_as_in_the_model_itself(tiny_base: BaseModel) -> None:
    base = base_of(make_qwen(), tiny_base)
    parameters = drawn_adapter(base, Recipe(r=4), std=0.05)
    examples = make_examples((50, 61, 37), 33)
    exact, exact_gradients = loss_and_gradients(base, parameters, examples, by_hand=False)
    for parameter in base.model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    narrow = replace(base, dtype=torch.bfloat16)
    _, models_own = loss_and_gradients(narrow, parameters, examples, by_hand=False)
    nll, by_hand = loss_and_gradients(narrow, parameters, examples, by_hand=True)
    assert nll == pytest.approx(exact, rel=0.01)
    assert all(gradient.dtype == torch.float32 for gradient in by_hand)
    assert distance(by_hand, exact_gradients) < 1.5 * distance(models_own, exact_gradients)


def distance(own: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """Relative to the length of the exact gradient."""
    a, b = (torch.cat([gradient.flatten() for gradient in some]) for some in (own, exact))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_states_are_the_models_own(tiny_base: BaseModel, family: str) -> None:
    base = tiny_base if family == "llama" else base_of(make_qwen(), tiny_base)
    drawn_adapter(base, Recipe(r=4))
    examples = make_examples((50, 61, 37, 70), 36)
    by_hand = supervised_states(base, examples)
    for own, theirs in zip(by_hand, supervised_states(base, examples, by_hand=False), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)


def test_dropout_and_other_families_keep_the_models_own_pass(
    tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_stack(tiny_base.model) is not None
    with monkeypatch.context() as patch:
        patch.setattr(tiny_base.model.config, "model_type", "gemma")
        assert find_stack(tiny_base.model) is None
    attach_adapter(tiny_base.model, replace(Recipe(), lora_dropout=0.1))
    assert find_stack(tiny_base.model) is None


def test_adapter_of_the_embeddings_is_refused(tiny_base: BaseModel) -> None:
    recipe = Recipe(r=4, target_modules=("embed_tokens", "q_proj"))
    with pytest.raises(TargetModulesUnmatched, match="embed_tokens"):
        attach_adapter(tiny_base.model, recipe)


def test_other_devices_keep_the_models_own_pass(tiny_base: BaseModel) -> None:
    assert find_stack(torch.nn.Module.to(tiny_base.model, torch.device("meta"))) is None


def test_rows_are_packed_behind_their_common_prefix() -> None:
    rows = [torch.arange(20), torch.cat((torch.arange(9), torch.arange(50, 56)))]
    packing = pack_rows(rows, multiple=8)
    assert packing.prefix == 9
    assert packing.segments == ((0, 9), (9, 20), (20, 32))
    assert packing.input_ids[26:].tolist() == [55] * 6
    where = packing.index(torch.tensor([0, 0, 1, 1]), torch.tensor([3, 19, 7, 14]))
    assert packing.input_ids[where].tolist() == [3, 19, 7, 55]
    assert packing.positions[where].tolist() == [3, 19, 7, 14]


@pytest.mark.parametrize("lengths", [(1,), (33,), (50, 61, 37, 70)])
def test_shapes_of_the_products_repeat_whatever_the_lengths(lengths: tuple[int, ...]) -> None:
    packing = pack_rows([example["input_ids"] for example in make_examples(lengths, 0)])
    assert len(packing.input_ids) % FILLED_TO == 0
    heads = Heads(heads=6, kv_heads=2, head_dim=8)
    for segment in segments_of(packing, heads, torch.float32):
        queries, keys = len(segment.mask) // heads.group, segment.mask.shape[1]
        assert queries % SHAPE_MULTIPLE == keys % SHAPE_MULTIPLE == 0
        assert segment.length <= queries < segment.length + SHAPE_MULTIPLE


def test_a_row_keeps_at_least_its_last_token() -> None:
    assert common_prefix([torch.arange(8), torch.arange(9)]) == 7
    assert common_prefix([torch.arange(8)]) == 0
