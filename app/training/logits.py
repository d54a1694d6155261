"""From a model's last hidden states to its logits, as the model itself makes them.

Families scale the product of their output layer, cap it, or scale what goes into it, under names of
their own. None is known here: the model's own forward pass makes the logits, with states that are
given to it in place of its decoder's. Whether the product alone is all of it, so that faster ways
may take it, is tried out once for each model. Must not know losses or what the logits are for.
"""

from __future__ import annotations

import copy
import itertools
import weakref
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from app.errors import BaseModelUnsupported

CHUNK_TOKENS = 64
"""Rows of float32 logits alive at once where the model makes them; see `app.training.head`."""

TRIED_TOKENS = 7
"""Of the text that a model is tried out with. Odd, so that no kernel's tile fits it."""

_LOUD = 64.0
"""Times its size a state is tried at, too: a cap leaves what is small as it is."""

_DEVIATION = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of the largest logit, by which the model's own may differ where it is run twice."""

_is_plain: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a causal LM that turns tokens into the states that its output layer reads.

    Raises: BaseModelUnsupported.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    found: Any = model.get_decoder()  # type: ignore[no-untyped-call]
    if found is not model and not _holds(found, head):
        return found  # type: ignore[no-any-return]
    # A family without the usual names: the outermost model within it that is without the head.
    for module in model.modules():
        if (
            isinstance(module, PreTrainedModel)
            and module is not model
            and not _holds(module, head)
            and reads_text(module)
        ):
            return module
    raise BaseModelUnsupported(f"{type(model).__name__} has no decoder apart from its output layer")


def reads_text(module: nn.Module) -> bool:
    """Whether a module takes tokens, which the towers for images and sound do not."""
    if not isinstance(module, PreTrainedModel):
        return True
    return module.main_input_name in {"input_ids", "inputs_embeds"}


def logits_of(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """Logits float32 (N, V) of states (N, H), with gradient for the states."""
    if is_plain(model):
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return head(states).float()  # type: ignore[no-any-return]
    return _own_logits(model, states).float()


def is_plain(model: PreTrainedModel) -> bool:
    """Whether a linear output layer's product is all that stands between states and logits.

    Tried out with numbers at the first call, and remembered.

    Raises: BaseModelUnsupported: The model's logits cannot be had from its decoder's states.
    """
    if model not in _is_plain:
        _is_plain[model] = _try_out(model)
    return _is_plain[model]


def plain_tokens(model: PreTrainedModel, count: int) -> list[int]:
    """The first so many tokens that stand for no image, no sound and no padding."""
    named = {
        value
        for name, value in model.config.to_dict().items()
        if "token" in name and isinstance(value, int)
    }
    tokens = (token for token in itertools.count(1) if token not in named)
    return list(itertools.islice(tokens, count))


def _try_out(model: PreTrainedModel) -> bool:
    was_training = model.training
    model.train(False)
    ids = torch.tensor([plain_tokens(model, TRIED_TOKENS)], device=model.device)
    try:
        with torch.no_grad():  # not inference mode: what a model caches must bear gradients later
            expected = model(input_ids=ids, use_cache=False).logits[0].float()
            decoder: Any = decoder_of(model)
            states = decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
            found = _own_logits(model, states).float()
            loud = torch.cat([states, states * _LOUD])
            own = _own_logits(model, loud)
            head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
            is_linear = type(head) is nn.Linear
            product = head(loud.unsqueeze(0))[0] if is_linear else None
    except BaseModelUnsupported:
        raise
    except Exception as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        raise BaseModelUnsupported(
            f"{type(model).__name__} reads no text of {TRIED_TOKENS} tokens: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        model.train(was_training)
    largest = float(expected.abs().max())
    deviation = float((found - expected).abs().max())
    # Not `>`: NaN is no small number.
    if not deviation <= _DEVIATION.get(states.dtype, 1e-1) * max(largest, 1e-6):
        raise BaseModelUnsupported(
            f"the logits of {type(model).__name__} cannot be had from its decoder's last states: "
            f"they differ by {deviation:.3g} of {largest:.3g}"
        )
    return product is not None and product.shape == own.shape and torch.equal(product, own)


def _own_logits(model: PreTrainedModel, states: torch.Tensor) -> torch.Tensor:
    """The model's own logits (N, V) in its dtype of states (N, H)."""
    shell = _with_states(model, decoder_of(model), states.unsqueeze(0))
    ids = torch.zeros(1, len(states), dtype=torch.int64, device=states.device)
    output: Any = shell(input_ids=ids, use_cache=False)
    return output.logits[0]  # type: ignore[no-any-return]


class _Given(nn.Module):
    """Stands in for a decoder, and answers whatever it is asked with the states that it holds."""

    def __init__(self, decoder: nn.Module, states: torch.Tensor) -> None:
        super().__init__()
        # Around `__setattr__`, which would make a submodule of it.
        self.__dict__["stands_for"] = decoder
        self.__dict__["states"] = states

    def forward(self, *_args: Any, **_options: Any) -> Any:
        """The states, as a decoder returns them."""
        return _States(last_hidden_state=self.__dict__["states"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stands_for"], name)


class _States(BaseModelOutputWithPast):
    """A decoder's output that has nothing but states: of a cache or a router's logits, None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _with_states(model: nn.Module, decoder: nn.Module, states: torch.Tensor) -> nn.Module:
    """The same modules, but for the decoder and, as shallow copies, what stands around it.

    Copies, and not the model with its decoder exchanged: two threads may generate with one model.
    """
    if model is decoder:
        return _Given(decoder, states)
    shell = copy.copy(model)
    shell._modules = {  # noqa: SLF001  # torch's own table of submodules; a copy shares it
        name: _with_states(child, decoder, states)
        if child is not None and _holds(child, decoder)
        else child
        for name, child in model._modules.items()  # noqa: SLF001
    }
    return shell


def _holds(module: nn.Module, wanted: nn.Module) -> bool:
    return any(one is wanted for one in module.modules())
