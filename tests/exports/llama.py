"""What llama.cpp says of a GGUF file, and how far that is from what torch says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""Log-probabilities of the next token: one row a prompt, one column a token."""


class Llama:
    """A model of llama.cpp's in this process, with an adapter or without."""

    def __init__(self, model: Path, adapter: Path | None = None, *, context: int = 1024) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = False
        params.cache_prompt = False  # what is kept of an earlier prompt changes greedy replies
        if adapter is not None:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        self._server = xllamacpp.Server(params)

    def next_tokens(self, prompts: Sequence[Sequence[int]], *, vocabulary: int) -> Table:
        """Log-probabilities of every token behind each prompt."""
        rows = np.full((len(prompts), vocabulary), -100.0)
        for row, prompt in zip(rows, prompts, strict=True):
            for token in self._first(prompt, shown=vocabulary):
                row[token["id"]] = token["logprob"]
        return normal(rows)

    def _first(self, prompt: Sequence[int], *, shown: int) -> list[dict[str, Any]]:
        """What may come first, whatever is drawn; of an end nothing is told, so draw another."""
        for seed in range(50):
            said = self._complete(prompt, tokens=1, shown=shown, temperature=3.0, seed=seed)
            if said:
                found: list[dict[str, Any]] = said[0]["top_logprobs"]
                return found
        raise AssertionError("llama.cpp draws nothing but the end of the turn")

    def reply(self, prompt: Sequence[int], *, tokens: int) -> list[int]:
        """The greedy reply."""
        return [token["id"] for token in self._complete(prompt, tokens=tokens, shown=1)]

    def _complete(
        self,
        prompt: Sequence[int],
        *,
        tokens: int,
        shown: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        answer: dict[str, Any] = self._server.handle_completions(
            {
                "prompt": list(prompt),
                "max_tokens": tokens,
                "logprobs": shown,
                "temperature": temperature,
                "seed": seed,
                "cache_prompt": False,
            }
        )
        found: dict[str, Any] | None = answer["choices"][0]["logprobs"]
        return [] if found is None else list(found["content"])


def normal(rows: Table) -> Table:
    """Rows whose probabilities add up to one."""
    top = rows.max(axis=1, keepdims=True)
    table: Table = rows - top - np.log(np.exp(rows - top).sum(axis=1, keepdims=True))
    return table


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far one model is from another.

    Attributes:
        kl: Of the next token, mean over the prompts.
        effect_correlation: Between what the adapter changes there and here: adapter minus base,
            log-probabilities of the hundred likeliest tokens.
    """

    kl: float
    effect_correlation: float


def distance(adapted: Table, base: Table, *, theirs: Table, their_base: Table) -> Distance:
    """Compare another runtime's model and base with PEFT's."""
    likeliest = np.argsort(-adapted, axis=1)[:, :100]
    here = np.take_along_axis(adapted - base, likeliest, axis=1)
    there = np.take_along_axis(theirs - their_base, likeliest, axis=1)
    return Distance(
        kl=float((np.exp(adapted) * (adapted - theirs)).sum(axis=1).mean()),
        effect_correlation=float(np.corrcoef(here.ravel(), there.ravel())[0, 1]),
    )
