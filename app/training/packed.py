"""Rows behind one another through a model's own forward pass: no padding, a common beginning once.

Two ways. `SHARED` gives the model a mask of who looks at whom: rows that begin alike have that
beginning in common. `APART` gives it positions that begin anew with each row, of which transformers
makes the mask, or what the kernels of flash attention take in its place. Whether a family can be
read in a way is tried out, not looked up: a recurrence or a convolution reads across rows, whatever
the mask says. Must not know losses or adapters.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from app.training.by_hand.packing import FILLED_TO, common_prefix
from app.training.logits import decoder_of, plain_tokens

LEAST_SHARED = 16
"""Tokens that rows must begin with in common to be read behind one beginning. A guess."""

_DEVIATION = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Of the largest state, by which a way may differ from reading every row by itself. Guesses."""

_NOISE = 1e-5
"""Of the largest gradient, that may come from another row; see `app.training.causality`."""


class Way(StrEnum):
    """How rows are packed; the value is what a report says."""

    SHARED = "packed, their beginning once"
    FLASH = "packed, flash attention"
    APART = "packed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """Rows in one sequence.

    Attributes:
        input_ids: int64 (N,).
        positions: int64 (N,): each token's position in its row.
        segments: int64 (N,): the row, or the common beginning, that a token belongs to.
        parents: int64 (N,): the beginning that a token's row goes on from; -1 for none.
        index: Of each row int64 (T,): where its tokens lie.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    parents: torch.Tensor
    index: tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Readable:
    """What trying a model out has found.

    Attributes:
        way: None where its rows have to be padded.
        why_not: What was seen instead, in words; empty where it can be packed.
    """

    way: Way | None
    why_not: str = ""


_found: weakref.WeakKeyDictionary[nn.Module, Readable] = weakref.WeakKeyDictionary()


def readable(model: PreTrainedModel) -> Readable:
    """The first way that gives the states of reading each row by itself; remembered."""
    if model not in _found:
        _found[model] = _try_out(model)
    return _found[model]


def lay_out(rows: Sequence[torch.Tensor], way: Way) -> Pack:
    """Put rows of token ids, int64 (T,) each, behind one another.

    Filled up with a row of its own to a multiple of `FILLED_TO`, so that shapes repeat.
    """
    ids: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    segments: list[torch.Tensor] = []
    parents: list[torch.Tensor] = []
    index: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    end = 0

    def put(tokens: torch.Tensor, first: int, parent: int) -> torch.Tensor:
        nonlocal end
        number = len(ids)
        ids.append(tokens)
        positions.append(torch.arange(first, first + len(tokens)))
        segments.append(torch.full((len(tokens),), number))
        parents.append(torch.full((len(tokens),), parent))
        end += len(tokens)
        return torch.arange(end - len(tokens), end)

    groups = _alike(rows) if way is Way.SHARED else [[row] for row in range(len(rows))]
    for members in groups:
        shared = common_prefix([rows[row] for row in members])
        parent = len(ids) if shared else -1
        begin = put(rows[members[0]][:shared], 0, -1) if shared else torch.arange(0)
        for row in members:
            index[row] = torch.cat([begin, put(rows[row][shared:], shared, parent)])
    if filling := -end % FILLED_TO:
        put(rows[0][-1:].expand(filling), 0, -1)  # any token would do; no one looks at it
    return Pack(
        input_ids=torch.cat(ids),
        positions=torch.cat(positions),
        segments=torch.cat(segments),
        parents=torch.cat(parents),
        index=tuple(index),
    )


def states_of(model: PreTrainedModel, pack: Pack, way: Way) -> torch.Tensor:
    """Last hidden states (N, H) of a pack; within `attending`, backward pass included."""
    device = model.device
    mask = None
    if way is Way.SHARED:
        segments, parents = pack.segments.to(device), pack.parents.to(device)
        place = torch.arange(len(segments), device=device)
        is_own = segments[:, None] == segments[None]
        is_begin = parents[:, None] == segments[None]
        mask = ((is_own | is_begin) & (place[None] <= place[:, None]))[None, None]
    decoder: Any = decoder_of(model)
    output = decoder(
        input_ids=pack.input_ids[None].to(device),
        position_ids=pack.positions[None].to(device),
        attention_mask=mask,
        use_cache=False,
    )
    return output.last_hidden_state[0]  # type: ignore[no-any-return]


@contextmanager
def attending(model: PreTrainedModel, way: Way | None) -> Iterator[None]:
    """Let a model attend as a way needs it."""
    if way is not Way.FLASH:
        yield
        return
    own = model.config._attn_implementation  # noqa: SLF001  # there is no public name
    model.set_attn_implementation("flash_attention_2")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _alike(rows: Sequence[torch.Tensor]) -> list[list[int]]:
    """Rows that begin alike together."""
    groups: list[list[int]] = []
    for row, tokens in enumerate(rows):
        for group in groups:
            if common_prefix([rows[group[0]], tokens]) >= LEAST_SHARED:
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _try_out(model: PreTrainedModel) -> Readable:
    """Three rows, two of which begin alike, in each way that is possible here."""
    text = torch.tensor(plain_tokens(model, 3 * LEAST_SHARED))
    begin = text[:LEAST_SHARED]
    rows = [text[:21], torch.cat([begin, text[22:33]]), text[33:40]]
    why: list[str] = []
    was_training = model.training
    model.train(False)
    try:
        expected = [_alone(model, row) for row in rows]
        for way in _possible(model):
            problem = _problem(model, rows, expected, way)
            if not problem:
                return Readable(way=way)
            why.append(problem)
    finally:
        model.train(was_training)
    return Readable(way=None, why_not=why[-1])


def _possible(model: PreTrainedModel) -> list[Way]:
    ways = [Way.APART]
    is_narrow = model.dtype in {torch.float16, torch.bfloat16}
    if model.device.type == "cuda" and is_narrow and is_flash_attn_2_available():
        ways.insert(0, Way.FLASH)
    config = decoder_of(model).config  # of a model that sees images, the text's own
    # A mask of ours stands in for every layer's: a window would be lost.
    has_window = bool(getattr(config, "sliding_window", None)) and getattr(
        config, "use_sliding_window", True
    )
    kinds = {*(getattr(config, "layer_types", None) or ())} - {"full_attention"}
    if config._attn_implementation == "sdpa" and not has_window and not kinds:  # noqa: SLF001
        ways.insert(0, Way.SHARED)
    return ways


def _alone(model: PreTrainedModel, row: torch.Tensor) -> torch.Tensor:
    decoder: Any = decoder_of(model)
    with torch.no_grad():
        output = decoder(input_ids=row[None].to(model.device), use_cache=False)
    return output.last_hidden_state[0]  # type: ignore[no-any-return]


def _problem(
    model: PreTrainedModel, rows: list[torch.Tensor], expected: list[torch.Tensor], way: Way
) -> str:
    """What speaks against a way, in words; empty for nothing."""
    marks: list[torch.Tensor] = []

    def mark(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        marks.append(torch.zeros_like(output, requires_grad=True))
        return output + marks[-1]

    pack = lay_out(rows, way)
    embedding: Any = model.get_input_embeddings()
    handle = embedding.register_forward_hook(mark)
    try:
        with torch.enable_grad(), attending(model, way):
            states = states_of(model, pack, way)
            last = states[pack.index[-1].to(states.device)].float().pow(3).sum()
            # Not `backward`, which would leave something in an adapter's gradients.
            taken = torch.autograd.grad(last, marks, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the next way is the answer to it
        return f"{type(error).__name__} where rows are packed"
    finally:
        handle.remove()
    largest = max(float(one.abs().max()) for one in expected)
    deviation = max(
        float((states.detach()[index.to(states.device)] - alone).abs().max())
        for index, alone in zip(pack.index, expected, strict=True)
    )
    if not deviation <= _DEVIATION.get(model.dtype, 5e-2) * largest:  # not `>`: NaN is no number
        return f"a row's states differ by {deviation / largest:.2g} of the largest beside others"
    gradient = next(
        one.float().abs().amax(dim=-1).flatten()
        for one in taken
        if one is not None and one.shape[:2] == (1, len(pack.input_ids))  # type: ignore[redundant-expr]  # unused
    )
    others = torch.ones(len(gradient), dtype=torch.bool)
    others[pack.index[-1]] = False
    if float(gradient[others].max()) > _NOISE * float(gradient.max()):
        return "a row reads what stands before it"
    return ""


def kept_bytes(model: PreTrainedModel, run: Callable[[], torch.Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, beside the model's own weights."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        result = run()
    del result
    return sum(kept.values())
