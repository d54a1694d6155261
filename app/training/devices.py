"""What a device has free, whether its backward pass is right, and what it promises of equal bytes.

Must not know models or jobs.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

DEVIATION = {torch.float32: 1e-2, torch.bfloat16: 1e-1, torch.float16: 1e-1}
"""Of the largest gradient, by which a device's may differ from the CPU's. Guesses: what a broken
backward pass gives is nothing, NaN, or other numbers."""

MakeLayer = Callable[[torch.device], nn.Module]


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device, with what this process holds and does not use."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def tiny_layer(device: torch.device) -> nn.Module:
    """Attention, norms and products, the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return layer.to(device)


def backward_problem(
    device: torch.device, dtype: torch.dtype, make_layer: MakeLayer = tiny_layer
) -> str:
    """What is wrong with a device's backward pass, in words; empty for nothing.

    One layer's gradients there against the CPU's, in the dtype that a cycle would train in.

    Raises: torch.OutOfMemoryError.
    """
    expected = _gradients(make_layer(torch.device("cpu")), torch.device("cpu"), dtype)
    try:
        found = _gradients(make_layer(device), device, dtype)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return f"the backward pass of a small layer fails ({type(error).__name__})"
    largest = float(expected.abs().max())
    deviation = float((found - expected).abs().max()) / largest
    if deviation <= DEVIATION[dtype]:  # so, since NaN is no small number
        return ""
    return f"the gradient of a small layer differs from the CPU's by {deviation:.2g} of the largest"


def _gradients(layer: nn.Module, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """float32 (N,) on the CPU, of all the layer's parameters."""
    layer.to(dtype)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 24, 32, generator=generator).to(device, dtype)
    with torch.enable_grad():
        layer(inputs).float().pow(3).sum().backward()
    return torch.cat(
        [p.grad.flatten().float().cpu() for p in layer.parameters() if p.grad is not None]
    )


def ask_for_equal_bytes(device: torch.device) -> dict[str, str]:
    """Take the deterministic kernels where a CUDA device has them; say so, in words.

    Those that it has none of are taken all the same, with a warning in the log.
    """
    if device.type != "cuda":
        return {} if device.type == "cpu" else {"determinism": "equal bytes are not promised here"}
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "unset")
    return {
        "determinism": "use_deterministic_algorithms (warn_only), "
        f"CUBLAS_WORKSPACE_CONFIG={workspace}; adapter, losses and replies are not byte-equal to "
        "a CPU's, nor promised to be from one CUDA device, driver or torch to another"
    }
