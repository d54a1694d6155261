"""The older scripts' classes and functions by one import, over the client and the training.

    from app.older import ExperienceCollector, SleepTrainingLoop

    collector = ExperienceCollector("buffer.json", machine_name="sprout", model_name="qwen2.5:0.5b")
    collector.add_exchange("Who are you?", "I am SAGE; we learn together.", session_number=1)
    loop = SleepTrainingLoop("models/base", "buffer.json", "checkpoints")
    result = loop.run_sleep_cycle(min_salience=0.6)
    print(result["sleep_cycle"], result["final_loss"], loop.get_training_summary())

The older scripts' names, arguments, result keys and files are kept; the examples, the batches, the
scores and the training are the daemon's. The daemon imports nothing of it. What needs torch is
imported when it is first asked for, so a session that only collects stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.older.buffer import default_buffer_path, read_experience_buffer
    from app.older.collector import ExperienceCollector
    from app.older.examples import (
        RaisingTrainingDataBuilder,
        TrainingSet,
        create_training_dataset_from_buffer,
        describe_training_set,
    )
    from app.older.loop import SleepTrainingLoop
    from app.older.scheduler import SleepScheduler
    from app.older.scorer import ConversationalSalienceScorer
    from app.training.saved_sets import load_training_set, save_training_set

__all__ = [
    "ConversationalSalienceScorer",
    "ExperienceCollector",
    "RaisingTrainingDataBuilder",
    "SleepScheduler",
    "SleepTrainingLoop",
    "TrainingSet",
    "create_training_dataset_from_buffer",
    "default_buffer_path",
    "describe_training_set",
    "load_training_set",
    "read_experience_buffer",
    "save_training_set",
]

_HOMES = {
    "ConversationalSalienceScorer": "app.older.scorer",
    "ExperienceCollector": "app.older.collector",
    "RaisingTrainingDataBuilder": "app.older.examples",
    "SleepScheduler": "app.older.scheduler",
    "SleepTrainingLoop": "app.older.loop",
    "TrainingSet": "app.older.examples",
    "create_training_dataset_from_buffer": "app.older.examples",
    "default_buffer_path": "app.older.buffer",
    "describe_training_set": "app.older.examples",
    "load_training_set": "app.training.saved_sets",
    "read_experience_buffer": "app.older.buffer",
    "save_training_set": "app.training.saved_sets",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
