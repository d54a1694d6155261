"""The path of other devices, on a CPU: packed rows give the loss and gradients of padded ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.experience import TrainingExchange
from app.domain.instance import SAGE_SYSTEM_PROMPT
from app.domain.recipe import Recipe
from app.training.accelerated import PackedGradients
from app.training.chat import ChatEncoder
from app.training.devices import backward_problem, tiny_layer
from app.training.examples import TrainingExample, make_examples
from app.training.gradients import AutogradGradients, Beside, Gradients
from app.training.loading import BaseModel
from app.training.loop import TrainingLoop
from app.training.lora import attach_adapter, trainable_parameters
from app.training.packed import Way, lay_out, readable
from app.training.states import accelerated_states, supervised_states
from tests.fuzz.conversations import NONE
from tests.training.tiny_families import make_family, tokenizer_for

PACKED = {
    "llama": Way.SHARED, "qwen2": Way.SHARED, "gpt2": Way.SHARED, "qwen3_moe": Way.SHARED,
    "gemma2": Way.APART, "mistral": Way.APART, "phi3": Way.APART,
    "gemma3_vision": Way.APART,
}  # fmt: skip
PADDED = ("mamba", "lfm2")
"""They read across rows: by a recurrence, by a convolution."""


def base_of(name: str) -> BaseModel:
    return BaseModel(
        model=make_family(name),
        tokenizer=tokenizer_for(name),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def examples_of(base: BaseModel, count: int = 5) -> list[TrainingExample]:
    encoder = ChatEncoder(base.tokenizer, system_prompt="You are SAGE, and new.", max_length=200)
    exchanges = [
        TrainingExchange(
            experience_id=str(number),
            prompt="Hello. " * (number + 1),
            response="We wondered together what the morning taught us. " * (count - number),
            salience=NONE,
        )
        for number in range(count)
    ]
    examples, unfit = make_examples(exchanges, encoder)
    assert not unfit
    return examples


def drawn(base: BaseModel) -> list[torch.nn.Parameter]:
    parameters = trainable_parameters(attach_adapter(base.model, Recipe(r=4, lora_alpha=8)).adapted)
    torch.manual_seed(1)
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.05)
    base.model.train()
    return parameters


def beside_of(base: BaseModel, examples: list[TrainingExample]) -> Beside:
    """Two of them, as anchors, of the bare base."""
    hidden = supervised_states(base, examples[3:], by_hand=False)
    return Beside(examples=examples[3:], hidden=hidden, weight=0.01)


def step(
    way: Gradients,
    parameters: list[torch.nn.Parameter],
    examples: list[TrainingExample],
    beside: Beside,
) -> tuple[float, list[torch.Tensor]]:
    nll = way.add_step(examples[:3], torch.linspace(0.005, 0.015, 3), [beside])
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return nll, gradients


def assert_alike(found: tuple[float, Any], expected: tuple[float, Any]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in expected[1])
    assert largest > 0
    for own, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("name", [*PACKED, *PADDED])
def test_one_pass_over_packed_rows_gives_what_padded_ones_give_part_by_part(name: str) -> None:
    base = base_of(name)
    examples = examples_of(base)
    beside = beside_of(base, examples)
    parameters = drawn(base)
    base.model.train(False)  # some have dropout
    packed = PackedGradients(base, parameters, longest=200, budget=10**9)
    expected = step(AutogradGradients(base), parameters, examples, beside)
    assert_alike(step(packed, parameters, examples, beside), expected)
    said = packed.describe()["rows"]
    if name in PACKED:
        assert said == PACKED[name].value
    else:
        assert said.startswith("padded: a row")


def test_rows_that_begin_alike_have_their_beginning_once() -> None:
    base = base_of("llama")
    rows = [example["input_ids"] for example in examples_of(base)]
    whole = sum(map(len, rows))
    packs = {way: lay_out(rows, way) for way in (Way.SHARED, Way.APART)}
    assert len(packs[Way.SHARED].input_ids) < whole <= len(packs[Way.APART].input_ids) < whole + 16
    for pack in packs.values():
        for row, index in zip(rows, pack.index, strict=True):
            assert torch.equal(pack.input_ids[index], row)
            assert torch.equal(pack.positions[index], torch.arange(len(row)))


def test_little_memory_cuts_parts_and_then_makes_activations_again() -> None:
    base = base_of("llama")
    examples = examples_of(base)
    beside = beside_of(base, examples)
    parameters = drawn(base)
    expected = step(AutogradGradients(base), parameters, examples, beside)

    small = PackedGradients(base, parameters, longest=150, budget=1_500_000)
    assert_alike(step(small, parameters, examples, beside), expected)
    assert small.describe()["activation_checkpointing"] == "off"
    assert int(small.describe()["part_tokens"]) < 500

    least = PackedGradients(base, parameters, longest=150, budget=100_000)
    assert_alike(step(least, parameters, examples, beside), expected)
    said = least.describe()["activation_checkpointing"]
    assert said.startswith("on: a row of 150 tokens keeps")
    assert said.endswith("and 0 MB are free for it")
    least.close()
    assert not base.model.is_gradient_checkpointing


class Narrow:
    """A hook on a model's block that has room for so many tokens at once."""

    def __init__(self, base: BaseModel, tokens: int) -> None:
        self.tokens = tokens
        base.model.get_decoder().layers[1].register_forward_pre_hook(self)  # type: ignore[no-untyped-call]

    def __call__(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Before the block."""
        if inputs[0].shape[0] * inputs[0].shape[1] > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_part_that_runs_out_of_memory_is_halved_and_said() -> None:
    base = base_of("llama")
    examples = examples_of(base)
    beside = beside_of(base, examples)
    parameters = drawn(base)
    expected = step(AutogradGradients(base), parameters, examples, beside)
    narrow = Narrow(base, 10**9)
    packed = PackedGradients(base, parameters, longest=200, budget=10**9)
    narrow.tokens = 200
    assert_alike(step(packed, parameters, examples, beside), expected)
    said = packed.describe()["out_of_memory"]
    assert "times; parts halved, to" in said
    # What was learned once holds: the next step asks for no more than there is.
    assert_alike(step(packed, parameters, examples, beside), expected)

    narrow.tokens = 40
    with pytest.raises(torch.OutOfMemoryError):
        step(packed, parameters, examples, beside)
    assert "ran out of memory" in packed.describe()["activation_checkpointing"]


def test_whole_training_in_packed_rows_learns_what_the_hand_written_blocks_learn(
    tiny_base: BaseModel,
    tiny_model: Path,
    exchanges: tuple[TrainingExchange, ...],
    tmp_path: Path,
) -> None:
    encoder = ChatEncoder(tiny_base.tokenizer, system_prompt=SAGE_SYSTEM_PROMPT, max_length=512)
    examples, _ = make_examples(exchanges, encoder)
    recipe = Recipe(r=4, lora_alpha=8, anchor_weight=0.0, epochs=1)
    curves = []
    for is_packed in (False, True):
        loop = TrainingLoop(
            tiny_model,
            tmp_path / str(is_packed),
            recipe=recipe,
            base=replace(tiny_base, model=reread(tiny_model)),
            is_fused=not is_packed,
            is_packed=is_packed,
        )
        curves.append(loop.train_on_experiences(examples)["loss_curve"])
        assert bool(loop.path) is is_packed
    assert curves[1] == pytest.approx(curves[0], abs=1e-3)


def reread(path: Path) -> Any:
    from app.training.loading import load_base_model

    return load_base_model(str(path), dtype=torch.float32).model


class Broken(torch.autograd.Function):
    """Forward as it should be; a backward pass that gives something else."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, factor: float) -> torch.Tensor:
        """The states."""
        ctx.factor = factor
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Not what it should be."""
        return outputs[0] * ctx.factor, None


class OnABrokenDevice(torch.nn.Module):
    """A layer as such a device would have it."""

    def __init__(self, layer: torch.nn.Module, factor: float) -> None:
        super().__init__()
        self.layer, self.factor = layer, factor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The layer's."""
        result: torch.Tensor = Broken.apply(self.layer(states), self.factor)  # type: ignore[no-untyped-call]
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", [0.0, float("nan"), 1.5])
def test_device_whose_backward_pass_is_wrong_is_found(dtype: torch.dtype, factor: float) -> None:
    made: list[torch.nn.Module] = []

    def make_layer(device: torch.device) -> torch.nn.Module:
        # The first one made is the CPU's.
        layer = tiny_layer(device)
        made.append(layer if not made else OnABrokenDevice(layer, factor))
        return made[-1]

    assert backward_problem(torch.device("cpu"), dtype) == ""
    assert "differs from the CPU's by" in backward_problem(torch.device("cpu"), dtype, make_layer)


@pytest.mark.parametrize("name", ["llama", "mistral", "lfm2"])
def test_evaluation_in_packed_rows_has_the_states_of_padded_ones(name: str) -> None:
    base = base_of(name)
    examples = examples_of(base)
    expected = supervised_states(base, examples, by_hand=False)
    with torch.no_grad():
        for found in (accelerated_states(base, examples), _with_little_room(base, examples)):
            for own, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4)


def _with_little_room(base: BaseModel, examples: list[TrainingExample]) -> list[torch.Tensor]:
    Narrow(base, 260)
    return accelerated_states(base, examples)


def test_what_a_family_is_packed_by_is_remembered() -> None:
    model = make_family("llama")
    assert readable(model) is readable(model)
