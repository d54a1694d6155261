"""What of a cycle's exchanges its base can be given: encoded, or set aside by name.

A cycle and the dry run before it ask here, so that both say the same; no weights are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.artifacts.bases import base_name
from app.domain.experience import CycleRole, TrainingExchange, Unfit
from app.domain.fit import FitQuestion
from app.errors import NothingFits
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_examples
from app.training.loading import load_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What of a cycle the model can be given: the new exchanges with their examples, and the rest.

    Attributes:
        pool: What may be rehearsed; of it nothing is named, it was learned once already.
    """

    exchanges: list[TrainingExchange]
    new: list[TrainingExample]
    pool: list[TrainingExample]
    held_out: list[TrainingExample]
    unfit: tuple[Unfit, ...]


def find_unfit(question: FitQuestion) -> tuple[Unfit, ...]:
    """Name what a cycle would set aside.

    Raises: BaseModelNotFound; ChatTemplateMissing; NothingFits.
    """
    encoder = ChatEncoder(
        load_tokenizer(question.base_model),
        system_prompt=question.system_prompt,
        max_length=question.max_length,
        thinking=question.thinking,
    )
    base_model = question.base_model
    return sort_out(question.train, question.held_out, encoder, base_model=base_model).unfit


def sort_out(
    train: Sequence[TrainingExchange],
    held_out: Sequence[TrainingExchange],
    encoder: ChatEncoder,
    *,
    base_model: str,
) -> Fit:
    """Encode all that a cycle is about, and name what cannot be. Raises: NothingFits.

    Args:
        train: What may be rehearsed included, by its role.
    """
    wanted = [one for one in train if one.role is not CycleRole.REHEARSAL]
    earlier = [one for one in train if one.role is CycleRole.REHEARSAL]
    new, unfit = make_examples(wanted, encoder)
    pool, _ = make_examples(earlier, encoder)
    measured, unfit_held_out = make_examples(held_out, encoder)
    names = {one.experience_id for one in unfit}
    unfit += unfit_held_out
    if wanted and not new:
        raise NothingFits(
            f"none of {len(wanted)} exchanges can be put before {base_name(base_model)}: "
            + ", ".join(sorted({one.code for one in unfit})),
            unfit=unfit,
        )
    return Fit(
        exchanges=[one for one in wanted if one.experience_id not in names],
        new=new,
        pool=pool,
        held_out=measured,
        unfit=tuple(unfit),
    )
