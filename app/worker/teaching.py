"""Asks a teacher about what a cycle is about to learn, before the model is loaded.

What it writes is kept with the exchange, so that it is asked once; whatever keeps it from
answering, the cycle goes on with what is there. Must not know models or training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.db.engine import Database
from app.domain.experience import CycleRole, TrainingExchange
from app.domain.lessons import read_lessons, task_for, tells_something
from app.domain.progress import Progress, Stage
from app.errors import RuntimeRefuses, RuntimeUnavailable, TrainingStopped
from app.log import get_logger
from app.services.lessons import keep_lessons

if TYPE_CHECKING:
    from app.runtimes.teacher import Teacher

_log = get_logger(__name__)


def teach(
    db: Database,
    teacher: Teacher,
    exchanges: Sequence[TrainingExchange],
    *,
    cycle: int,
    on_progress: Callable[[Progress], None],
    stop: threading.Event,
) -> tuple[TrainingExchange, ...]:
    """The same exchanges; those that are new and tell something with lessons.

    Args:
        cycle: The number that the lessons are kept under.

    Raises: TrainingStopped.
    """

    def give_sign() -> None:
        on_progress(Progress(stage=Stage.LOADING))
        if stop.is_set():
            raise TrainingStopped("stopped while its teacher was asked")

    taught = list(exchanges)
    asked = 0
    for place, exchange in enumerate(exchanges):
        if exchange.lessons or exchange.role is not CycleRole.TRAIN:
            continue
        if not tells_something(exchange):
            continue
        try:
            reply = teacher.reply(task_for(exchange), on_piece=give_sign)
        except (RuntimeUnavailable, RuntimeRefuses) as error:
            _log.warning("teacher.not_asked", code=error.code, asked=asked)
            break
        asked += 1
        lessons = read_lessons(reply, exchange, teacher=teacher.model, cycle=cycle)
        if lessons and keep_lessons(db, exchange.experience_id, lessons):
            taught[place] = replace(exchange, lessons=lessons)
    if asked:
        count = sum(len(one.lessons) for one in taught)
        _log.info("teacher.asked", exchanges=asked, lessons=count)
    return tuple(taught)
