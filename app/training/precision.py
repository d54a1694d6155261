"""Run a bf16 model's forward pass in fp32, without a second copy of it in memory.

Must not know adapters or what is being measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import ParamWrapper
from torch import nn

from app.training.lora import parameter_of
from app.training.quantized import exact_product, is_rounded


@contextmanager
def fp32_forward(model: nn.Module) -> Iterator[None]:
    """Let every module compute in fp32 from its bf16 weights, one module at a time.

    bf16 rounding alone moves a token's log-probability by 0.044 nats on average as soon as any
    weight changes (SmolLM2-135M, measured with B drawn at 1e-7 to 1e-3), which hides what a weak
    adapter does. In fp32 the same B of 1e-7 moves it by 3e-6, and one of 1e-3 by 8e-3.

    Each leaf module's weights are widened before its call and put back after it, so memory grows by
    the largest leaf only; an embedding's output is widened instead of its table, and a layer in 8
    or 4 bits gives the product of the weights that it stands for. Forward only: no gradient may be
    taken inside, and the hand-written decoder, which calls no module, must not be.
    """
    handles = []
    for module in model.modules():
        if is_rounded(module):
            handles.append(module.register_forward_hook(exact_product))
        elif isinstance(module, nn.Embedding):
            handles.append(module.register_forward_hook(_widen_output))
        elif isinstance(module, ParamWrapper):
            # Such an adapter exchanges the parameter while it is called, and hides it from its
            # owner: it is widened before that.
            swap = _WeightSwap([parameter_of(module)])
            handles.append(module.register_forward_pre_hook(swap.widen))
            handles.append(module.register_forward_hook(swap.put_back, always_call=True))
        elif any(_is_narrow(parameter) for parameter in module.parameters(recurse=False)):
            swap = _WeightSwap()
            handles.append(module.register_forward_pre_hook(swap.widen))
            # Always: a pass that ends in an error must not leave wide weights behind.
            handles.append(module.register_forward_hook(swap.put_back, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _WeightSwap:
    """Holds one module's own weights, or those given, while wide ones stand in for them."""

    def __init__(self, parameters: Sequence[nn.Parameter] = ()) -> None:
        self._parameters = parameters
        self._own: list[tuple[nn.Parameter, torch.Tensor]] = []

    def widen(self, module: nn.Module, _args: Any) -> None:
        for parameter in self._parameters or module.parameters(recurse=False):
            if _is_narrow(parameter):
                self._own.append((parameter, parameter.data))
                parameter.data = parameter.data.float()

    def put_back(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        for parameter, own in self._own:
            parameter.data = own
        self._own.clear()


def _widen_output(_module: nn.Module, _args: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()


def _is_narrow(parameter: nn.Parameter) -> bool:
    return parameter.dtype in {torch.bfloat16, torch.float16}
