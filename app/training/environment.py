"""What a training ran on, in words for its report and in bytes of memory. Must not know jobs."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import version

import torch

from app.training.loading import BaseModel


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of the device's memory on a GPU, of this process's on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
        "dtype": str(base.dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "adapter": geometry,
    }
