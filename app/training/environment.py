"""What a training ran on, in words for its report and in bytes of memory. Must not know jobs."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import version

import torch

from app.log import get_logger
from app.training.devices import ask_for_equal_bytes, backward_problem
from app.training.loading import BaseModel, choose_dtype, device_named

_log = get_logger(__name__)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of the device's memory on a GPU, of this process's on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_memory() -> None:
    """Give what is free back to the system.

    glibc keeps what a phase has freed where the next one's larger tensors find no room in it: the
    trained model's weights were still resident while the fresh one's were read beside them.
    """
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def describe_environment(base: BaseModel, geometry: str) -> dict[str, str]:
    """Versions, machine and device, and the adapter's geometry as `describe_adapter` words it."""
    name = torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else ""
    return {
        "sage_sleep": version("sage-sleep"),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": version("transformers"),
        "peft": version("peft"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": str(torch.backends.cpu.get_cpu_capability()),
        "device": f"{base.device.type} {name}".strip(),
        "dtype": base.numbers.removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "adapter": geometry,
    }


def prove_device(name: str) -> tuple[torch.device, dict[str, str]]:
    """The device to train on, and what there is to say of it; a broken one's cycle runs on the CPU.

    Raises: DeviceUnavailable.
    """
    device = device_named(name)
    if device.type == "cpu":
        return device, {}
    problem = backward_problem(device, choose_dtype(device))
    if problem:
        _log.warning("device.not_trusted", device=str(device), problem=problem)
        return torch.device("cpu"), {"self_test": f"{device}: {problem}; trained on the CPU"}
    return device, {"self_test": f"{device}: passed", **ask_for_equal_bytes(device)}
