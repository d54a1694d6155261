"""Everything heavy: data, models, LoRA, evaluation. Never db, services, api or settings.

Exports the Python API of the older scripts, which is the code that the daemon itself trains with.
The names are looked up at first use, so that `import app.training.models` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.data import (
        RaisingTrainingDataBuilder,
        create_training_dataset_from_buffer,
        load_training_set,
        save_training_set,
    )
    from app.training.loop import SleepTrainingLoop

__all__ = [
    "RaisingTrainingDataBuilder",
    "SleepTrainingLoop",
    "create_training_dataset_from_buffer",
    "load_training_set",
    "save_training_set",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "loop" if name == "SleepTrainingLoop" else "data"
    return getattr(import_module(f"app.training.{module}"), name)
