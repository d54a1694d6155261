"""What an experiment beside the cycles reads: a checkpoint made again, a selection and its control.

Nothing here writes. An experiment trains, so none begins while a cycle is running: the machine may
hold one model, and the cycle comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sqlalchemy.orm import Session

from app.db import checkpoints, experiences, sleep_cycles, trainable
from app.db.engine import Database
from app.db.tables import CheckpointRow
from app.domain.base_parts import BaseParts
from app.domain.calibration import draw_control
from app.domain.checkpoint import CheckpointFile, CheckpointStatus
from app.domain.experience import CycleRole, ExperienceStatus, TrainingExchange
from app.domain.lessons import known_by
from app.domain.plan import CyclePlan
from app.domain.reproduction import Recorded
from app.domain.selection import MAX_HELD_OUT, Selectable, Selection
from app.errors import (
    CheckpointFilesMissing,
    CheckpointNotReproducible,
    NothingToConsolidate,
    SleepCycleActive,
)
from app.services.cycle_run import read_exchanges_within
from app.services.instances import load_effective
from app.services.planning import plan_within


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredFiles:
    """A checkpoint's directory and the files that belong there."""

    name: str
    base_sha256: str
    base_parts: BaseParts
    files: tuple[CheckpointFile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproductionOrder:
    """What it takes to run a manifest again, besides the manifest.

    Attributes:
        base_model: Where the cycle found its base; a manifest has only its name.
        train: Rehearsal included, in the order of the plan.
    """

    base_model: str
    parent: RegisteredFiles | None
    train: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Experiences to train on, oldest first."""

    exchanges: tuple[TrainingExchange, ...]
    mean_salience: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationOrder:
    """What a cycle would train on now, and controls of the same size.

    Attributes:
        plan: The cycle's; its recipe's seed is the first of `seeds`.
        controls: One for each seed.
        rehearsal: Beside either.
    """

    instance: str
    plan: CyclePlan
    seeds: tuple[int, ...]
    parent: RegisteredFiles | None
    salient: Sample
    controls: tuple[Sample, ...]
    rehearsal: tuple[TrainingExchange, ...]
    held_out: tuple[TrainingExchange, ...]


def find_registered(db: Database, wanted: str) -> RegisteredFiles:
    """The files of a checkpoint, by its id, the beginning of that, or its name.

    Raises: CheckpointNotFound, CheckpointFilesMissing when it was deleted.
    """
    with db.read() as session:
        if "/" in wanted:
            return _registered(session, checkpoints.get_by_name(session, wanted))
        found = checkpoints.find_by_beginning(session, wanted)
        row = found[0] if len(found) == 1 else checkpoints.get_checkpoint(session, wanted)
        return _registered(session, row)


def order_reproduction(db: Database, recorded: Recorded) -> ReproductionOrder:
    """Read what a manifest names, exactly as its cycle had it.

    Raises: CheckpointNotReproducible, CheckpointFilesMissing, SleepCycleActive.
    """
    plan = recorded.plan
    with db.read() as session:
        _demand_idle(session)
        _demand_same_data(session, recorded)
        row = checkpoints.get_checkpoint(session, recorded.checkpoint_id)
        cycle = sleep_cycles.get_cycle(session, row.cycle_id)
        parent_id = plan.parent_checkpoint_id
        return ReproductionOrder(
            base_model=cycle.plan.base_model,
            parent=_registered(session, checkpoints.get_checkpoint(session, parent_id))
            if parent_id
            else None,
            train=known_by(
                cycle.number,
                (
                    *read_exchanges_within(session, plan.experience_ids, CycleRole.TRAIN),
                    *read_exchanges_within(session, plan.rehearsal_ids, CycleRole.REHEARSAL),
                ),
            ),
            held_out=read_exchanges_within(session, plan.held_out_ids, CycleRole.HELD_OUT),
        )


def order_calibration(
    db: Database,
    slug: str,
    *,
    max_experiences: int | None,
    seeds: int,
) -> CalibrationOrder:
    """Select as a cycle would now, and draw a control for each seed.

    Raises: InstanceNotFound, ControlTooSmall, NothingToConsolidate, SleepCycleActive.
    """
    with db.read() as session:
        _demand_idle(session)
        instance = load_effective(session, slug)
        selection, plan = plan_within(session, instance, max_experiences=max_experiences)
        # As many as there are: the yardstick's size is most of the noise.
        held_out = (
            trainable.list_held_out(session, instance.row.id, MAX_HELD_OUT) or selection.held_out
        )
        if not held_out:
            raise NothingToConsolidate(
                f"{slug} has nothing held out to measure with; post more exchanges.", instance=slug
            )
        taken = {item.seq for item in (*selection.train, *held_out)}
        choosable = trainable.list_trainable(session, instance.row.id)
        first = plan.recipe.seed
        controls = [
            trainable.list_by_seqs(
                session,
                draw_control(choosable, taken, size=len(selection.train), seed=seed),
            )
            for seed in range(first, first + seeds)
        ]
        parent_id = plan.parent_checkpoint_id
        rehearsal = read_exchanges_within(session, plan.rehearsal_ids, CycleRole.REHEARSAL)
        return CalibrationOrder(
            instance=slug,
            plan=plan,
            seeds=tuple(range(first, first + seeds)),
            parent=_registered(session, checkpoints.get_checkpoint(session, parent_id))
            if parent_id
            else None,
            salient=_sample(session, selection.train),
            controls=tuple(_sample(session, control) for control in controls),
            rehearsal=rehearsal,
            held_out=read_exchanges_within(
                session, [item.id for item in held_out], CycleRole.HELD_OUT
            ),
        )


def _sample(session: Session, chosen: Sequence[Selectable]) -> Sample:
    return Sample(
        exchanges=read_exchanges_within(session, [item.id for item in chosen], CycleRole.TRAIN),
        mean_salience=fmean(item.total for item in chosen),
    )


def _registered(session: Session, row: CheckpointRow) -> RegisteredFiles:
    if row.status != CheckpointStatus.READY:
        raise CheckpointFilesMissing(
            f"The files of checkpoint {row.name} are not there: {row.status}."
        )
    return RegisteredFiles(
        name=row.name,
        base_sha256=row.base_sha256,
        base_parts=checkpoints.base_parts_of(session, row),
        files=row.files,
    )


def _demand_idle(session: Session) -> None:
    for cycle in sleep_cycles.list_running(session):
        raise SleepCycleActive(
            f"Cycle {cycle.id} is {cycle.status}; wait for its end, so that the machine holds one "
            "model at a time.",
            sleep_cycle_id=cycle.id,
        )


def _demand_same_data(session: Session, recorded: Recorded) -> None:
    plan = recorded.plan
    lists = (plan.experience_ids, plan.rehearsal_ids, plan.held_out_ids)
    wanted = [experience_id for ids in lists for experience_id in ids]
    rows = {row.id: row for row in experiences.list_by_ids(session, wanted)}
    gone: dict[str, Any] = {
        "erased": [i for i in wanted if i in rows and rows[i].status == ExperienceStatus.ERASED],
        "absent": [i for i in wanted if i not in rows],
    }
    for what, ids in gone.items():
        if ids:
            raise CheckpointNotReproducible(
                f"{len(ids)} of the {len(wanted)} experiences of {recorded.name} are {what} "
                f"({_some(ids)}): without them its training cannot be run again.",
                **{what: ids},
            )
    train, rehearsal, held_out = (
        tuple(
            Selectable(
                seq=rows[i].seq, id=i, content_sha256=rows[i].content_sha256, total=rows[i].total
            )
            for i in ids
        )
        for ids in lists
    )
    selection = Selection(train=train, rehearsal=rehearsal, held_out=held_out)
    if selection.data_sha256 != plan.data_sha256:
        raise CheckpointNotReproducible(
            f"The experiences of {recorded.name} are not those it was trained on: their hash is "
            f"{selection.data_sha256[:12]}, its manifest's {plan.data_sha256[:12]}."
        )


def _some(ids: Sequence[str], shown: int = 3) -> str:
    return ", ".join(ids[:shown]) + (", ..." if len(ids) > shown else "")
