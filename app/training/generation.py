"""Continue many prompts at once, greedily or at a seed.

transformers' own `generate` draws from torch's global generator, so that a reply depends on the
rows beside it and training's random numbers on the replies. Here every row has numbers of its own,
from its prompt and its seed: base and adapter are asked with the same ones, and only what the
adapter changed changes a reply. Must not know chat templates or what replies are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel

from app.training.lanes import LANES, even_ranges, open_lanes
from app.training.lora import wraps_parameters
from app.training.pulse import beat
from app.training.rows import Rows, way_of

TEMPERATURE = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One continuation to make.

    Attributes:
        prompt: Token ids, at least one.
        seed: None for the most likely token at every step.
    """

    prompt: tuple[int, ...]
    seed: int | None = None


def continue_prompts(
    model: PreTrainedModel, draws: Sequence[Draw], *, new_tokens: int, end_ids: frozenset[int]
) -> list[list[int]]:
    """Continue each prompt by at most `new_tokens`; an end token is the last of its row.

    Half of the rows go on each core of a CPU (see `lanes.py`): a step of 40 rows took one
    core as long as two. In either half a prompt is read once, however many seeds ask for it, and
    what all prompts begin with once.
    Rows that find no memory together are continued in halves.
    Sampling takes the first token whose cumulative probability at `TEMPERATURE` passes the step's
    uniform number.

    Returns:
        Token ids of each row, without the prompt.

    Raises: torch.OutOfMemoryError: One row alone does not fit.
    """
    if not draws:
        return []
    was_training = model.training
    model.train(False)  # dropout would draw from torch's global numbers
    # Some adapters exchange a layer's weights for as long as it is called.
    is_shared = model.device.type == "cpu" and not wraps_parameters(model)
    make_rows = way_of(model)
    with open_lanes(LANES if is_shared else 1) as lanes:
        shares = [draws[part] for part in even_ranges(len(draws), lanes.count) if draws[part]]
        written = lanes.run(
            partial(_continue_share, model, make_rows, new_tokens=new_tokens, end_ids=end_ids),
            shares,
        )
    model.train(was_training)
    return [row for share in written for row in share]


def _continue_share(
    model: PreTrainedModel,
    make_rows: type[Rows],
    draws: Sequence[Draw],
    *,
    new_tokens: int,
    end_ids: frozenset[int],
) -> list[list[int]]:
    """All at once; where memory runs out, the halves one after the other."""
    written = _try_rows(model, make_rows, draws, new_tokens=new_tokens, end_ids=end_ids)
    if written is not None:
        return written
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    middle = len(draws) // 2
    return [
        row
        for half in (draws[:middle], draws[middle:])
        for row in _continue_share(model, make_rows, half, new_tokens=new_tokens, end_ids=end_ids)
    ]


def _try_rows(
    model: PreTrainedModel,
    make_rows: type[Rows],
    draws: Sequence[Draw],
    *,
    new_tokens: int,
    end_ids: frozenset[int],
) -> list[list[int]] | None:
    """None where memory ran out; what it held is free then."""
    try:
        return _continue_rows(model, make_rows, draws, new_tokens=new_tokens, end_ids=end_ids)
    except torch.OutOfMemoryError:
        if len(draws) == 1:
            raise
        return None


def _continue_rows(
    model: PreTrainedModel,
    make_rows: type[Rows],
    draws: Sequence[Draw],
    *,
    new_tokens: int,
    end_ids: frozenset[int],
) -> list[list[int]]:
    with torch.inference_mode():
        rows = make_rows(model, [draw.prompt for draw in draws])
        choose = _Choice(draws, new_tokens)
        written: list[list[int]] = [[] for _ in draws]
        # Rows that have ended go on being read: to take them out would copy the whole cache.
        open_rows = set(range(len(draws)))
        for step in range(new_tokens):
            beat()
            tokens = choose(rows.logits, step).tolist()
            for row in sorted(open_rows):
                written[row].append(tokens[row])
                if tokens[row] in end_ids:
                    open_rows.discard(row)
            if not open_rows or step + 1 == new_tokens:
                break
            rows.advance(tokens)
    return written


class _Choice:
    """Chooses the next token of every row by its own random numbers."""

    def __init__(self, draws: Sequence[Draw], new_tokens: int) -> None:
        self._uniform = torch.stack([_uniform(draw, new_tokens) for draw in draws])
        self._is_greedy = torch.tensor([draw.seed is None for draw in draws])

    def __call__(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """The next token of every row, int64 (R,) on the CPU, by its logits (R, V)."""
        best = logits.argmax(dim=-1)
        if bool(self._is_greedy.all()):
            return best.cpu()
        heights = torch.softmax(logits / TEMPERATURE, dim=-1).cumsum(dim=-1)
        # The last height is 1 but for rounding; times it, no number lies above all heights.
        wanted = self._uniform[:, step : step + 1].to(heights.device) * heights[:, -1:]
        drawn = torch.searchsorted(heights, wanted).squeeze(1).clamp(max=heights.shape[1] - 1)
        return torch.where(self._is_greedy, best.cpu(), drawn.cpu())


def _uniform(draw: Draw, steps: int) -> torch.Tensor:
    """float32 (steps,) in [0, 1): the same for the same prompt and seed, whatever else is asked."""
    if draw.seed is None:
        return torch.zeros(steps)
    text = f"{draw.seed}:{','.join(map(str, draw.prompt))}"
    # A hash, not `hash()`, which differs from process to process; 56 bits fit any generator.
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.rand(steps, generator=torch.Generator().manual_seed(seed))
