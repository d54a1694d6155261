"""The linear layers of a decoder's blocks, found by their structure and not by their names.

What counts is what a module does: a frozen matrix that tokens' states are multiplied by, within the
blocks that the decoder stacks. Not among them are the towers for images and sound and what carries
their output over, a mixture's routers and gates, embeddings and the output layer.

An adapter on a layer that no text comes to, or whose weight is used without calling it, would train
nothing: each is tried out. Must not know recipes or adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from app.errors import BaseModelUnsupported
from app.training.logits import TRIED_TOKENS, decoder_of, plain_tokens, reads_text

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockLayers:
    """What of a causal LM an adapter may change, in the model's order.

    Attributes:
        linear: Full names of the linear layers.
        stacks: Full names of parameters that hold several matrices, one for each expert mostly.
        routed: Those of the linear layers that a router sends only some tokens to.
    """

    linear: tuple[str, ...]
    stacks: tuple[str, ...]
    routed: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.linear, *self.stacks)


def find_layers(model: PreTrainedModel) -> BlockLayers:
    """Find the layers of a bare model. Raises: BaseModelUnsupported."""
    decoder = decoder_of(model)
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    linear: list[str] = []
    stacks: list[str] = []
    routed: set[str] = set()
    for name, block in _blocks(decoder, prefix):
        routers, experts = _routers(block), _routed(block)
        for inner, module in _within(block, name):
            if _is_linear(module):
                if not any(module is router for router in routers):
                    linear.append(inner)
                if any(module is expert for expert in experts):
                    routed.add(inner)
            else:
                stacks += [f"{inner}.{own}" for own in _stacks(module)]
    if not linear and not stacks:
        raise BaseModelUnsupported(
            f"{type(model).__name__} has no blocks with linear layers that are known"
        )
    return BlockLayers(linear=tuple(linear), stacks=tuple(stacks), routed=frozenset(routed))


def find_reached(model: PreTrainedModel, layers: BlockLayers) -> frozenset[str]:
    """Those of the layers whose change would reach a text's states, and whose gradient comes.

    An expert that these few tokens were not sent to is reached where its like is.

    Raises: BaseModelUnsupported: No gradient can be taken at all.
    """
    marks: dict[str, torch.Tensor] = {}
    handles: list[RemovableHandle] = []
    try:
        handles += [
            model.get_submodule(name).register_forward_hook(_marking(marks, name))
            for name in {*layers.linear, *(name.rpartition(".")[0] for name in layers.stacks)}
        ]
        _run(model)
        _run(model)  # as a second batch would: one that keeps states of the first has no gradient
    finally:
        for handle in handles:
            handle.remove()
    reached = {name for name, mark in marks.items() if mark.grad is not None}
    alike = {plain_name(name) for name in reached}
    return frozenset(
        [
            name
            for name in layers.linear
            if name in reached or (name in layers.routed and plain_name(name) in alike)
        ]
        + [name for name in layers.stacks if name.rpartition(".")[0] in reached]
    )


def plain_name(name: str) -> str:
    """A name with `*` for the numbers of blocks and experts."""
    return _NUMBER.sub("*", name)


def _blocks(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The members of the outermost lists of modules; and what several blocks share."""
    for child_name, child in module.named_children():
        inner = f"{name}.{child_name}" if name else child_name
        if isinstance(child, nn.ModuleList):
            yield from ((f"{inner}.{number}", block) for number, block in enumerate(child))
        elif isinstance(child, PreTrainedModel) and not reads_text(child):
            continue
        elif not _is_linear(child):
            yield from _blocks(child, inner)


def _within(block: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """A block's modules by their full names, without those within a linear layer or a tower."""
    if isinstance(block, PreTrainedModel) and not reads_text(block):
        return
    yield name, block
    if not _is_linear(block):
        for child_name, child in block.named_children():
            yield from _within(child, f"{name}.{child_name}")


def _is_linear(module: nn.Module) -> bool:
    """Whether it is a matrix that inputs are multiplied by; a quantised one is no `nn.Linear`."""
    if isinstance(module, nn.Linear | Conv1D):
        return True
    sizes = [getattr(module, name, None) for name in ("in_features", "out_features")]
    return (
        all(type(size) is int for size in sizes)
        and not isinstance(module, nn.Bilinear)
        and not any(_is_linear(child) for child in module.children())
    )


def _out_features(module: Any) -> int:
    return int(module.nf if isinstance(module, Conv1D) else module.out_features)


def _stacks(module: nn.Module) -> list[str]:
    """A module's own parameters of one matrix for each expert; a convolution's are no such."""
    if isinstance(module, nn.modules.conv._ConvNd):  # noqa: SLF001  # there is no public name
        return []
    return [
        name
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dim() == 3 and min(parameter.shape) > 1
    ]


def _routers(block: nn.Module) -> list[nn.Module]:
    """The linear layers that choose a mixture's experts, or weigh them against one another.

    Beside the experts, with an output for each of them, or with one for all of them together.
    """
    found: list[nn.Module] = []
    for module in block.modules():
        counts = {count for child in module.children() for count in _expert_counts(child)}
        if not counts:
            continue
        for child in module.modules():
            if not _is_linear(child) or _is_expert(module, child):
                continue
            if _out_features(child) in counts | {1}:
                found.append(child)
    return found


def _routed(block: nn.Module) -> list[nn.Module]:
    """The linear layers of experts that something in the block has an output for, each.

    A list of layers that are alike, with nothing that chooses among them, is no mixture.
    """
    found: list[nn.Module] = []
    for module in block.modules():
        if not isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue
        layers = [child for child in module.modules() if _is_linear(child)]
        own = {id(weight) for layer in layers for weight in layer.parameters()}
        sizes = {len(p) for p in block.parameters() if p.dim() == 2 and id(p) not in own}
        if _expert_counts(module) & sizes:
            found += layers
    return found


def _expert_counts(module: nn.Module) -> frozenset[int]:
    """How many experts a module holds; none where it is no mixture's.

    Its stacks may differ: experts that give back what they get have no matrix in some of them.
    """
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        members = list(module.children())
        is_alike = len({type(member) for member in members}) == 1
        has_layers = all(any(map(_is_linear, member.modules())) for member in members)
        is_mixture = len(members) > 1 and is_alike and has_layers
        return frozenset([len(members)]) if is_mixture else frozenset()
    return frozenset(len(module.get_parameter(name)) for name in _stacks(module))


def _is_expert(mixture: nn.Module, layer: nn.Module) -> bool:
    """Whether a layer is within one of the mixture's experts."""
    return any(
        _expert_counts(child) and any(layer is one for one in child.modules())
        for child in mixture.children()
    )


def _marking(marks: dict[str, torch.Tensor], name: str) -> Any:
    """A hook that adds a 0 to a layer's output whose gradient tells whether one came through."""

    def mark(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        if not isinstance(first, torch.Tensor) or not first.is_floating_point():
            return None
        if name not in marks:
            marks[name] = torch.zeros((), dtype=first.dtype, device=first.device)
            marks[name].requires_grad_()
        marked = first + marks[name]
        return (marked, *output[1:]) if isinstance(output, tuple) else marked

    return mark


def _run(model: PreTrainedModel) -> None:
    """A few tokens forth and back. Raises: BaseModelUnsupported."""
    ids = torch.tensor([plain_tokens(model, TRIED_TOKENS)], device=model.device)
    was_training = model.training
    model.train(False)
    try:
        with torch.enable_grad():
            decoder: Any = decoder_of(model)
            states = decoder(input_ids=ids, use_cache=False).last_hidden_state
            states.float().square().sum().backward()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise BaseModelUnsupported(
            f"{type(model).__name__} takes no gradient of a text of {TRIED_TOKENS} tokens: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        model.train(was_training)
