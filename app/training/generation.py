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
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from app.training.lanes import LANES, even_ranges, open_lanes
from app.training.logits import logits_of
from app.training.pulse import beat

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
    Sampling takes the first token whose cumulative probability at `TEMPERATURE` passes the step's
    uniform number.

    Returns:
        Token ids of each row, without the prompt.
    """
    if not draws:
        return []
    was_training = model.training
    model.train(False)  # dropout would draw from torch's global numbers
    with open_lanes(LANES if model.device.type == "cpu" else 1) as lanes:
        shares = [draws[part] for part in even_ranges(len(draws), lanes.count) if draws[part]]
        written = lanes.run(
            partial(_continue_rows, model, new_tokens=new_tokens, end_ids=end_ids), shares
        )
    model.train(was_training)
    return [row for share in written for row in share]


def _continue_rows(
    model: PreTrainedModel, draws: Sequence[Draw], *, new_tokens: int, end_ids: frozenset[int]
) -> list[list[int]]:
    with torch.inference_mode():
        rows = _Rows(model, draws, new_tokens)
        written: list[list[int]] = [[] for _ in draws]
        # Rows that have ended go on being read: to take them out would copy the whole cache.
        open_rows = set(range(len(draws)))
        for step in range(new_tokens):
            beat()
            tokens = rows.choose(step).tolist()
            for row in sorted(open_rows):
                written[row].append(tokens[row])
                if tokens[row] in end_ids:
                    open_rows.discard(row)
            if not open_rows or step + 1 == new_tokens:
                break
            rows.advance(tokens)
    return written


class _Rows:
    """The rows under way: their cache, their mask and the logits of their next token."""

    def __init__(self, model: PreTrainedModel, draws: Sequence[Draw], new_tokens: int) -> None:
        self._model = model
        prompts = list(dict.fromkeys(draw.prompt for draw in draws))
        shared = _shared_length(prompts)
        rests = [prompt[shared:] for prompt in prompts]
        width = max(len(rest) for rest in rests)
        # On the left, so that every row's next token stands in the same column.
        ids = torch.zeros(len(prompts), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, rest in enumerate(rests):
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, width - len(rest) :] = 1
        # Each prompt is read once; its cache is copied for every seed that asks for it, below.
        index = torch.tensor([prompts.index(draw.prompt) for draw in draws])
        cache = DynamicCache(config=model.config)
        if shared:
            start = torch.tensor([prompts[0][:shared]])
            self._forward(start, torch.ones_like(start), torch.arange(shared).unsqueeze(0), cache)
            cache.batch_repeat_interleave(len(prompts))
        # What fills up on the left gets position 0, which no one looks at.
        positions = shared + (mask.cumsum(1) - 1).clamp(min=0)
        mask = torch.cat([torch.ones(len(prompts), shared, dtype=torch.int64), mask], dim=1)
        logits = self._forward(ids, mask, positions, cache)
        cache.batch_select_indices(index.to(model.device))
        self._cache = cache
        self._logits = logits[index.to(model.device)]
        self._mask = mask[index]
        self._uniform = torch.stack([_uniform(draw, new_tokens) for draw in draws])
        self._is_greedy = torch.tensor([draw.seed is None for draw in draws])

    def choose(self, step: int) -> torch.Tensor:
        """The next token of every row, int64 (R,) on the CPU."""
        best = self._logits.argmax(dim=-1)
        if bool(self._is_greedy.all()):
            return best.cpu()
        heights = torch.softmax(self._logits / TEMPERATURE, dim=-1).cumsum(dim=-1)
        # The last height is 1 but for rounding; times it, no number lies above all heights.
        wanted = self._uniform[:, step : step + 1].to(heights.device) * heights[:, -1:]
        drawn = torch.searchsorted(heights, wanted).squeeze(1).clamp(max=heights.shape[1] - 1)
        return torch.where(self._is_greedy, best.cpu(), drawn.cpu())

    def advance(self, tokens: Sequence[int]) -> None:
        """Read one token more in every row."""
        self._mask = torch.cat([self._mask, torch.ones(len(tokens), 1, dtype=torch.int64)], dim=1)
        positions = self._mask.sum(dim=1, keepdim=True) - 1
        ids = torch.tensor(tokens).unsqueeze(1)
        self._logits = self._forward(ids, self._mask, positions, self._cache)

    def _forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: DynamicCache,
    ) -> torch.Tensor:
        """Logits of the last column, float32 (R, V)."""
        device = self._model.device
        decoder: Any = self._model.get_decoder()  # type: ignore[no-untyped-call]
        output: Any = decoder(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        # Contiguous: on a CPU the output layer took 4.7 s and 2.3 GB for 40 rows with gaps between.
        return logits_of(self._model, output.last_hidden_state[:, -1].contiguous())


def _shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with; each keeps at least its last. 0 for a lone prompt."""
    if len(prompts) < 2:
        return 0
    length = 0
    for column in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _uniform(draw: Draw, steps: int) -> torch.Tensor:
    """float32 (steps,) in [0, 1): the same for the same prompt and seed, whatever else is asked."""
    if draw.seed is None:
        return torch.zeros(steps)
    text = f"{draw.seed}:{','.join(map(str, draw.prompt))}"
    # A hash, not `hash()`, which differs from process to process; 56 bits fit any generator.
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.rand(steps, generator=torch.Generator().manual_seed(seed))
