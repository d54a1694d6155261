"""Rows of tokens that a model continues, one token at a time: three ways of reading them.

A cache is what a family makes of it: keys and values, the states of a recurrence, a window of a
convolution. `SharedRows` is the fastest, and right where a cache can be padded, repeated and
continued by several tokens. `LikeRows` leaves the cache to the model and never pads. `WholeRows`
has none. Which of them a model can be read in is tried out, not looked up. Must not know how a
token is chosen.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel

from app.training.logits import decoder_of, logits_of, plain_tokens

_DEVIATION = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Of the largest logit, by which a way may differ from reading the whole row again. Guesses: in
bf16 the way of the embedded model differs by 0.01."""

_ways: weakref.WeakKeyDictionary[nn.Module, type[Rows]] = weakref.WeakKeyDictionary()


class Rows(Protocol):
    """Rows under way.

    Attributes:
        logits: Of each row's next token, float32 (R, V).
    """

    logits: torch.Tensor

    def __init__(self, model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the prompts, each at least one token."""

    def advance(self, tokens: Sequence[int]) -> None:
        """Read one token more in every row."""


def way_of(model: PreTrainedModel) -> type[Rows]:
    """The fastest way that gives the logits of reading whole rows; remembered.

    The model is in evaluation mode.
    """
    found = _ways.get(model)
    if found is None:
        found = _ways[model] = _find_way(model)
    return found


class SharedRows:
    """One batch, padded on the left; what all prompts begin with is read once.

    So is each prompt, however many rows begin with it.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self._model = model
        several = list(dict.fromkeys(prompts))
        shared = shared_length(several)
        rests = [prompt[shared:] for prompt in several]
        width = max(len(rest) for rest in rests)
        # On the left, so that every row's next token stands in the same column.
        ids = torch.zeros(len(several), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, rest in enumerate(rests):
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, width - len(rest) :] = 1
        # Each prompt is read once; its cache is copied for every row that begins with it, below.
        index = torch.tensor([several.index(prompt) for prompt in prompts])
        cache = DynamicCache(config=model.config)
        if shared:
            start = torch.tensor([several[0][:shared]])
            self._forward(start, torch.ones_like(start), torch.arange(shared).unsqueeze(0), cache)
            cache.batch_repeat_interleave(len(several))
        # What fills up on the left gets position 0, which no one looks at.
        positions = shared + (mask.cumsum(1) - 1).clamp(min=0)
        mask = torch.cat([torch.ones(len(several), shared, dtype=torch.int64), mask], dim=1)
        logits = self._forward(ids, mask, positions, cache)
        cache.batch_select_indices(index.to(model.device))
        self._cache = cache
        self.logits = logits[index.to(model.device)]
        # There, so that no step waits for a copy of it.
        self._mask = mask[index].to(model.device)

    def advance(self, tokens: Sequence[int]) -> None:
        """See `Rows`."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        positions = self._mask.sum(dim=1, keepdim=True) - 1
        ids = torch.tensor(tokens).unsqueeze(1)
        self.logits = self._forward(ids, self._mask, positions, self._cache)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        """Logits of the last column, float32 (R, V)."""
        device = self._model.device
        decoder: Any = decoder_of(self._model)
        output: Any = decoder(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
        )
        # Contiguous: on a CPU the output layer took 4.7 s and 2.3 GB for 40 rows with gaps between.
        return logits_of(self._model, output.last_hidden_state[:, -1].contiguous())


class LikeRows:
    """Batches of rows whose prompts are equally long, each with the cache that the model makes."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self._model = model
        self._groups: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            self._groups.setdefault(len(prompt), []).append(row)
        self._caches: dict[int, dict[str, Any]] = {length: {} for length in self._groups}
        self._read([list(prompt) for prompt in prompts])

    def advance(self, tokens: Sequence[int]) -> None:
        """See `Rows`."""
        self._read([[token] for token in tokens])

    def _read(self, rows: Sequence[Sequence[int]]) -> None:
        decoder: Any = decoder_of(self._model)
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for length, members in self._groups.items():
            ids = torch.tensor([rows[row] for row in members], device=self._model.device)
            output: Any = decoder(input_ids=ids, use_cache=True, **self._caches[length])
            # Under whatever name: what a model gives back beside its states is what it goes on by.
            self._caches[length] = {
                name: value
                for name, value in output.items()
                if name in {"past_key_values", "cache_params", "state"} and value is not None
            }
            logits = logits_of(self._model, output.last_hidden_state[:, -1].contiguous())
            for row, of_row in zip(members, logits, strict=True):
                found[row] = of_row
        self.logits = torch.stack(found)


class WholeRows:
    """Every row read again from its beginning for every token: slow, and right in any family."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self._model = model
        self._rows = [list(prompt) for prompt in prompts]
        self._read()

    def advance(self, tokens: Sequence[int]) -> None:
        """See `Rows`."""
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        self._read()

    def _read(self) -> None:
        device = self._model.device
        # On the right, where no token looks.
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in self._rows], batch_first=True
        )
        decoder: Any = decoder_of(self._model)
        states = decoder(input_ids=ids.to(device), use_cache=False).last_hidden_state
        ends = torch.tensor([len(row) - 1 for row in self._rows], device=device)
        rows = torch.arange(len(self._rows), device=device)
        self.logits = logits_of(self._model, states[rows, ends])


def shared_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with; each keeps at least its last. 0 for a lone prompt."""
    if len(prompts) < 2:
        return 0
    length = 0
    for column in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def _find_way(model: PreTrainedModel) -> type[Rows]:
    """Try the ways out on prompts with a common beginning, of several lengths, one of them twice.

    Whatever a cache is not able to do shows as an error of any kind, or as other logits.
    """
    text = tuple(plain_tokens(model, 12))
    prompts = [text[:6], (*text[:4], *text[6:12]), text[:6]]
    with torch.inference_mode():
        expected = _logits_by(WholeRows, model, prompts)
        largest = float(expected.abs().max())
        for way in (SharedRows, LikeRows):
            try:
                found = _logits_by(way, model, prompts)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # noqa: BLE001, S112  # the next way is the answer to it
                continue
            deviation = float((found - expected).abs().max())
            if deviation <= _DEVIATION.get(model.dtype, 5e-2) * largest:
                return way
    return WholeRows


def _logits_by(
    way: type[Rows], model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]
) -> torch.Tensor:
    """The logits after the prompts and after each of two tokens more."""
    rows = way(model, prompts)
    found = [rows.logits]
    for tokens in plain_tokens(model, 2):
        rows.advance([tokens] * len(prompts))
        found.append(rows.logits)
    return torch.stack(found)
