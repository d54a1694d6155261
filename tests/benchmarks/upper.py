"""A base cut to its last blocks, for benchmarks that need many trainings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from app.training.by_hand.packing import common_prefix
from app.training.examples import TrainingExample
from app.training.loading import BaseModel

COMMON_WORDS = 4000
"""That stay in a narrowed vocabulary besides the exchanges' own; a tokenizer numbers them first."""


class Upper:
    """A base cut to its last blocks and to the commoner words, so that training costs little.

    The states below are read once and looked up by number in place of tokens; an adapter changes
    the blocks that are left. Of the vocabulary stay the words of the exchanges and the commonest.
    """

    def __init__(
        self, base: BaseModel, blocks: int, parts: Sequence[list[TrainingExample]]
    ) -> None:
        decoder: Any = base.model.get_decoder()  # type: ignore[no-untyped-call]
        self._numbers: dict[tuple[int, ...], int] = {}
        self._rows: list[torch.Tensor] = []
        every, norm = decoder.layers, decoder.norm
        decoder.layers, decoder.norm = every[:-blocks], torch.nn.Identity()
        shared = common_prefix([example["input_ids"] for part in parts for example in part])
        self._prefix: Any = None
        with torch.no_grad():
            read = [[self._read(decoder, one, shared) for one in part] for part in parts]
        decoder.layers, decoder.norm = every[-blocks:], norm
        for place, layer in enumerate(decoder.layers):
            layer.self_attn.layer_idx = place
        base.model.config.num_hidden_layers = blocks
        table = torch.nn.Embedding.from_pretrained(torch.stack(self._rows))  # type: ignore[no-untyped-call]
        decoder.embed_tokens = table
        self.parts = self._narrow(base.model, read)

    def _read(self, decoder: Any, example: TrainingExample, shared: int) -> TrainingExample:
        ids = example["input_ids"]
        if self._prefix is None:
            output = decoder(input_ids=ids[None, :shared], use_cache=True)
            self._prefix = output.past_key_values
            self._keep(ids, 0, output.last_hidden_state[0])
        output = decoder(
            input_ids=ids[None, shared:],
            past_key_values=copy.deepcopy(self._prefix),
            use_cache=True,
        )
        self._keep(ids, shared, output.last_hidden_state[0])
        told = ids.tolist()
        numbers = [self._numbers[tuple(told[: end + 1])] for end in range(len(told))]
        return {**example, "input_ids": torch.tensor(numbers)}

    def _keep(self, ids: torch.Tensor, start: int, states: torch.Tensor) -> None:
        told = ids.tolist()
        for place, state in enumerate(states, start=start):
            if self._numbers.setdefault(tuple(told[: place + 1]), len(self._rows)) == len(
                self._rows
            ):
                self._rows.append(state.clone())

    def _narrow(
        self, model: Any, parts: list[list[TrainingExample]]
    ) -> list[list[TrainingExample]]:
        labels = torch.cat([example["labels"] for part in parts for example in part])
        common = torch.arange(COMMON_WORDS)
        kept = torch.cat((common, labels[labels >= 0])).unique()  # type: ignore[no-untyped-call]
        head = torch.nn.Linear(model.config.hidden_size, len(kept), bias=False)
        head.weight = torch.nn.Parameter(model.lm_head.weight[kept], requires_grad=False)
        model.lm_head = head

        def narrow(example: TrainingExample) -> TrainingExample:
            labels = example["labels"]
            found = torch.searchsorted(kept, labels.clamp(min=0))
            return {**example, "labels": torch.where(labels < 0, labels, found)}

        return [[narrow(example) for example in part] for part in parts]
