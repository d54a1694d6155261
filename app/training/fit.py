"""What of a cycle's exchanges its base can be given: encoded, or set aside by name.

A cycle and the dry run before it ask here, so that both say the same; no weights are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.artifacts.bases import base_name, find_base_model
from app.domain.base_parts import WEIGHTS, changed_parts
from app.domain.experience import CycleRole, TrainingExchange, Unfit
from app.domain.fit import FitAnswer, FitQuestion
from app.errors import BaseModelMismatch, NothingFits
from app.training.chat import ChatEncoder
from app.training.examples import TrainingExample, make_examples
from app.training.loading import device_named, load_tokenizer
from app.training.models import read_parts
from app.training.quantized import demand_possible
from app.training.sketch import sketch_layers


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What of a cycle the model can be given: the new exchanges with their examples, and the rest.

    Attributes:
        pool: What may be rehearsed; of it nothing is named, it was learned once already.
        earlier: The exchanges of the pool.
    """

    exchanges: list[TrainingExchange]
    new: list[TrainingExample]
    pool: list[TrainingExample]
    earlier: list[TrainingExchange]
    held_out: list[TrainingExample]
    unfit: tuple[Unfit, ...]


def look(question: FitQuestion) -> FitAnswer:
    """Name what a cycle would set aside, and the layers that a new adapter would change.

    The weights are not read: of the base's parts all others are compared.

    Raises: DeviceUnavailable; BaseModelNotFound; BaseModelMismatch; BaseModelUnsupported;
        ChatTemplateMissing; TargetModulesUnmatched; NoTrainableParameters; NothingFits.
    """
    device = device_named(question.device)
    demand_possible(question.quantization, question.base_model, device)
    _demand_same_parts(question)
    encoder = ChatEncoder(
        load_tokenizer(question.base_model),
        system_prompt=question.system_prompt,
        max_length=question.max_length,
        thinking=question.thinking,
    )
    layers = None if question.has_parent else sketch_layers(question)
    fit = sort_out(question.train, question.held_out, encoder, base_model=question.base_model)
    return FitAnswer(set_aside=fit.unfit, layers=layers)


def _demand_same_parts(question: FitQuestion) -> None:
    then = {
        name: sha256
        for name, sha256 in question.parent_base_parts.items()
        if not name.startswith(WEIGHTS)
    }
    changed = changed_parts(then, read_parts(find_base_model(question.base_model)))
    if changed:
        raise base_mismatch(question.base_model, changed)


def base_mismatch(
    base_model: str, changed: Sequence[str], **facts: str | None
) -> BaseModelMismatch:
    """The error of a base that is not what it was when the parent adapter was trained on it."""
    what = "; ".join(changed) or "its weights or its configuration are others"
    return BaseModelMismatch(
        f"the base model {base_name(base_model)} is not what it was when the current adapter was "
        f"trained on it: {what}. Put it back as it was, set the instance's base model back, or "
        "rebuild the instance from the base as it is now (POST /v1/instances/SLUG/rebuild)",
        changed=tuple(changed),
        **facts,
    )


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
        earlier=earlier,
        held_out=measured,
        unfit=tuple(unfit),
    )
