"""The states from which a model predicts the supervised tokens of examples, without gradient.

By hand where the model's decoder is one that is written out (`by_hand.stack`), which reads
what all examples begin with once; else through the model's own forward pass, in packed rows where
the device is not a CPU. Must not know what is made of the states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.training.batches import move_batch, pad_batch
from app.training.by_hand.decoder import find_stack
from app.training.by_hand.packing import Packing, pack_rows
from app.training.by_hand.stack import Stack, last_states
from app.training.chat import IGNORED_LABEL
from app.training.examples import TrainingExample
from app.training.lanes import open_lanes
from app.training.loading import BaseModel, pad_token_of
from app.training.logits import decoder_of
from app.training.packed import Pack, attending, lay_out, readable, states_of
from app.training.pulse import beat

OWN_BATCH_SIZE = 8
PACKED_TOKENS = 1500
"""Tokens that go through the hand-written decoder at once; one block's states of them are alive."""


ACCELERATED_TOKENS = 8192
"""The same elsewhere; their mask is the square of it, 67 MB. A guess."""


def supervised_states(
    base: BaseModel, examples: Sequence[TrainingExample], *, by_hand: bool = True
) -> list[torch.Tensor]:
    """Last hidden states (N, H) of each example at the positions that predict a label.

    Args:
        by_hand: False for the model's own forward pass, as `fp32_forward` needs it.
    """
    # Neighbours are of like length: little padding in a batch, and the same packs every time.
    by_length = sorted(range(len(examples)), key=lambda i: (len(examples[i]["input_ids"]), i))
    lengths = [len(examples[i]["input_ids"]) for i in by_length]
    stack = find_stack(base.model) if by_hand else None
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        if stack is None and by_hand and base.device.type != "cpu":
            for members in _packs(lengths, limit=ACCELERATED_TOKENS):
                wanted = [by_length[i] for i in members]
                found |= zip(
                    wanted, accelerated_states(base, [examples[i] for i in wanted]), strict=True
                )
        elif stack is None:
            for start in range(0, len(by_length), OWN_BATCH_SIZE):
                beat()
                members = by_length[start : start + OWN_BATCH_SIZE]
                found |= zip(
                    members, _own_states(base, [examples[i] for i in members]), strict=True
                )
        else:
            for members in _packs(lengths):
                beat()
                wanted = [by_length[i] for i in members]
                states = _packed_states(stack, [examples[i] for i in wanted])
                found |= zip(wanted, states, strict=True)
    return [found[i] for i in range(len(examples))]


def pack_examples(
    examples: Sequence[TrainingExample],
) -> tuple[Packing, torch.Tensor, torch.Tensor]:
    """Examples packed; of each supervised token its example, and the index that predicts it."""
    packing = pack_rows([example["input_ids"] for example in examples])
    supervised = [
        (example["labels"][1:] != IGNORED_LABEL).nonzero().squeeze(1) for example in examples
    ]
    owners = torch.repeat_interleave(
        torch.arange(len(examples)), torch.tensor([len(positions) for positions in supervised])
    )
    return packing, owners, packing.index(owners, torch.cat(supervised))


def _packs(lengths: Sequence[int], *, limit: int = PACKED_TOKENS) -> list[list[int]]:
    """Neighbours together, up to `limit` tokens; an example alone may be longer."""
    packs: list[list[int]] = []
    total = 0
    for index, length in enumerate(lengths):
        if not packs or total + length > limit:
            packs.append([])
            total = 0
        packs[-1].append(index)
        total += length
    return packs


def accelerated_states(base: BaseModel, examples: Sequence[TrainingExample]) -> list[torch.Tensor]:
    """Of each example, in packed rows where the family can be read so; halved as memory runs out.

    Raises: torch.OutOfMemoryError: One example alone does not fit.
    """
    beat()
    found = _try_states(base, examples)
    if found is None:
        middle = len(examples) // 2
        halves = (examples[:middle], examples[middle:])
        found = [states for half in halves for states in accelerated_states(base, half)]
    return found


def _try_states(base: BaseModel, examples: Sequence[TrainingExample]) -> list[torch.Tensor] | None:
    """None where memory ran out; what it held is free then."""
    model, was_training = base.model, base.model.training
    model.train(False)
    way = readable(model).way
    try:
        if way is None:
            return _own_states(base, examples)
        pack = lay_out([example["input_ids"] for example in examples], way)
        with attending(model, way):
            states = states_of(model, pack, way)[wanted_of(pack, examples).to(base.device)]
        counts = [int((example["labels"][1:] != IGNORED_LABEL).sum()) for example in examples]
        return list(torch.split(states, counts))
    except torch.OutOfMemoryError:
        if len(examples) == 1:
            raise
        return None
    finally:
        model.train(was_training)


def wanted_of(pack: Pack, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """Where the states lie, int64 (N,), that predict supervised tokens."""
    return torch.cat(
        [
            index[:-1][example["labels"][1:] != IGNORED_LABEL]
            for index, example in zip(pack.index, examples, strict=True)
        ]
    )


def _packed_states(stack: Stack, examples: Sequence[TrainingExample]) -> list[torch.Tensor]:
    packing, owners, wanted = pack_examples(examples)
    with open_lanes() as lanes:
        states = last_states(stack, packing, wanted, lanes)
    lengths = torch.bincount(owners, minlength=len(examples)).tolist()
    return list(torch.split(states, lengths))  # packed in the order of the examples


def _own_states(base: BaseModel, examples: Sequence[TrainingExample]) -> list[torch.Tensor]:
    model = base.model
    was_training = model.training
    model.train(False)
    batch = move_batch(pad_batch(examples, pad_token_of(base.tokenizer)), base.device)
    hidden = decoder_of(model)(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    is_wanted = batch["labels"][:, 1:] != IGNORED_LABEL
    model.train(was_training)
    # The last state predicts what no example holds.
    return [states[:-1][wanted] for states, wanted in zip(hidden, is_wanted, strict=True)]
