"""A step's gradients where the device is not a CPU: one pass over packed rows, anchors among them.

Through the model's own forward pass. A part is as large as the memory that is free allows; where
not even the longest row's activations fit, they are made again in the backward pass (activation
checkpointing). A part that runs out of memory all the same is halved, and the training goes on.
What was chosen is told in words, for the cycle's report. Must not know optimisers or epochs.

Nothing is compiled and no CUDA graph is taken: neither was measured, and lengths change with every
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from app.training.batches import even_parts, move_batch, pad_batch, split_by_tokens
from app.training.devices import free_bytes
from app.training.examples import TrainingExample, targets_of
from app.training.gradients import Beside
from app.training.liger import liger_loss
from app.training.loading import BaseModel, pad_token_of
from app.training.logits import decoder_of, is_plain, plain_tokens
from app.training.loss import predicting_states, states_divergence, states_loss
from app.training.packed import attending, kept_bytes, lay_out, readable, states_of
from app.training.states import wanted_of

FREE_SHARE = 0.6
"""Of the free memory that a part's activations may take; the rest is for what comes and goes within
an operation, and for the output layer. A guess."""

MOST_TOKENS = 8192
"""Of a part: its mask is the square of it, 67 MB. A guess."""

LOGITS_BYTES = 256_000_000
"""Of float32 logits alive at once, of each of the three or four tensors that a loss makes. A guess.
"""

_TRIED_TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """An example with the weight of each of its supervised tokens.

    Attributes:
        hidden: The base's states, whose distribution it is to stay near; None for its own labels.
    """

    example: TrainingExample
    weight: float
    hidden: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        return len(self.example["input_ids"])


class PackedGradients:
    """See `Gradients`; padded rows where the family cannot be packed.

    Args:
        base: With an adapter attached, in training mode.
        parameters: Those that learn.
        longest: Tokens of the longest row to come.
        budget: Bytes that a part's activations may take; None for a share of what is free.
    """

    def __init__(
        self,
        base: BaseModel,
        parameters: Sequence[torch.nn.Parameter],
        *,
        longest: int,
        budget: int | None = None,
    ) -> None:
        self._base = base
        self._parameters = list(parameters)
        self._readable = readable(base.model)
        vocabulary = base.model.config.get_text_config().vocab_size
        self._chunk_tokens = min(max(LOGITS_BYTES // (4 * vocabulary), 64), MOST_TOKENS)
        self._liger, self._head = None, "chunks"
        if is_plain(base.model):
            self._liger, self._head = liger_loss(base.model.get_output_embeddings())  # type: ignore[no-untyped-call]
        self._budget = int(FREE_SHARE * free_bytes(base.device)) if budget is None else budget
        self._checkpointing = "off"
        self._halved: list[int] = []
        kept = self._kept_by_a_token()
        if longest * kept > self._budget:
            self._checkpoint(
                f"a row of {longest} tokens keeps {longest * kept / 1e6:.0f} MB, and "
                f"{self._budget / 1e6:.0f} MB are free for it"
            )
            # A block's states of every token, and within one block at a time all of them.
            blocks = max(int(base.model.config.get_text_config().num_hidden_layers), 1)
            states = base.model.config.get_text_config().hidden_size * base.dtype.itemsize * blocks
            kept = kept // blocks + states
        self._limit = min(max(self._budget // max(kept, 1), 1), MOST_TOKENS)

    def close(self) -> None:
        """Leave the model as it was."""
        if self._checkpointing.startswith("on"):
            self._base.model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]

    def describe(self) -> dict[str, str]:
        """What was chosen, and what it came to, in words."""
        way, why_not = self._readable.way, self._readable.why_not
        described = {
            "rows": f"padded: {why_not}" if way is None else way.value,
            "attention": "flash_attention_2" if way is not None and "flash" in way.value
            else str(self._base.model.config._attn_implementation),  # noqa: SLF001  # no public one
            "part_tokens": str(self._limit),
            "head": f"{self._head} of {self._chunk_tokens}" if self._head == "chunks"
            else self._head,
            "activation_checkpointing": self._checkpointing,
        }  # fmt: skip
        if self._halved:
            described["out_of_memory"] = (
                f"{len(self._halved)} times; parts halved, to {min(self._halved)} tokens"
            )
        return described

    def add_step(
        self, examples: Sequence[TrainingExample], weights: torch.Tensor, beside: Sequence[Beside]
    ) -> float:
        """See `Gradients`.

        Raises: torch.OutOfMemoryError: One row alone does not fit, with its activations made again.
        """
        rows = [
            _Row(example=example, weight=weight)
            for example, weight in zip(examples, weights.tolist(), strict=True)
        ]
        for one in beside:
            rows += [
                _Row(example=example, weight=one.weight, hidden=hidden)
                for example, hidden in zip(one.examples, one.hidden, strict=True)
            ]
        nll = 0.0
        waiting = self._parts(rows)
        while waiting:
            part = waiting.pop(0)
            found = self._try(part)
            if found is None:
                waiting[:0] = self._smaller(part)
            else:
                nll += found
        return nll

    def _try(self, part: Sequence[_Row]) -> float | None:
        """Add a part's gradients, all of them or none; None where memory ran out."""
        try:
            # Over the backward pass, too, which may read again.
            with attending(self._base.model, self._readable.way):
                total, nll = self._losses(part)
                # Not `backward`, which would leave some of them where it ran out.
                gradients = torch.autograd.grad(total, self._parameters, allow_unused=True)
            found = float(nll)
        except torch.OutOfMemoryError:
            if len(part) == 1 and self._checkpointing != "off":
                raise
            return None
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is not None:
                has_some = parameter.grad is not None
                parameter.grad = parameter.grad.add_(gradient) if has_some else gradient  # type: ignore[union-attr]
        return found

    def _smaller(self, part: Sequence[_Row]) -> list[list[_Row]]:
        """The same rows in halves; a lone one again, without its activations kept."""
        if self._base.device.type == "cuda":
            torch.cuda.empty_cache()
        tokens = sum(row.tokens for row in part)
        if len(part) == 1:
            self._checkpoint(f"a row of {tokens} tokens ran out of memory")
            return [list(part)]
        self._limit = max(tokens // 2, 1)
        self._halved.append(self._limit)
        middle = len(part) // 2
        return [list(part[:middle]), list(part[middle:])]

    def _losses(self, part: Sequence[_Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the gradients are of, and the unweighted sum of the losses of those with labels."""
        model, device = self._base.model, self._base.device
        # Those with labels stand before those with states, as they were given.
        states = self._states([row.example for row in part])
        of = [targets_of(row.example) for row in part]
        weights = torch.cat(
            [torch.full((len(labels),), row.weight) for row, labels in zip(part, of, strict=True)]
        ).to(device)
        told = sum(len(labels) for row, labels in zip(part, of, strict=True) if row.hidden is None)
        labels = torch.cat(of)[:told].to(device)
        total = states.new_zeros((), dtype=torch.float32)
        nll = total
        if told:
            given = (states[:told], labels, weights[:told])
            if self._liger is not None:
                total = nll = self._liger(*given).float()
            else:
                total, nll = states_loss(model, *given, chunk_tokens=self._chunk_tokens)
        hidden = [row.hidden for row in part if row.hidden is not None]
        if hidden:
            total = total + states_divergence(
                model,
                states[told:],
                torch.cat(hidden).to(device),
                weights[told:],
                chunk_tokens=self._chunk_tokens,
            )
        return total, nll.detach()

    def _states(self, examples: Sequence[TrainingExample]) -> torch.Tensor:
        """Those (N, H) that predict supervised tokens, in order of row and position."""
        way = self._readable.way
        if way is None:
            batch = pad_batch(examples, pad_token_of(self._base.tokenizer))
            states, _targets, _rows = predicting_states(
                self._base.model, move_batch(batch, self._base.device)
            )
            return states
        pack = lay_out([example["input_ids"] for example in examples], way)
        return states_of(self._base.model, pack, way)[
            wanted_of(pack, examples).to(self._base.device)
        ]

    def _parts(self, rows: Sequence[_Row]) -> list[list[_Row]]:
        lengths = [row.tokens for row in rows]
        if self._readable.way is None:
            parts = split_by_tokens(lengths, self._limit)
        else:
            parts = even_parts(lengths, shared=0, limit=self._limit)
        return [[rows[i] for i in part] for part in parts if part]

    def _kept_by_a_token(self) -> int:
        """Bytes; tried out, for a family may keep what it likes."""
        model, way = self._base.model, self._readable.way
        row = torch.tensor(plain_tokens(model, _TRIED_TOKENS))

        def run() -> torch.Tensor:
            if way is None:
                decoder: Any = decoder_of(model)
                read = decoder(input_ids=row[None].to(self._base.device), use_cache=False)
                return read.last_hidden_state  # type: ignore[no-any-return]
            return states_of(model, lay_out([row], way), way)

        with attending(model, way):
            return kept_bytes(model, run) // _TRIED_TOKENS

    def _checkpoint(self, why: str) -> None:
        try:
            self._base.model.activation_checkpointing_enable()
        except ValueError:  # a family that has no such thing
            self._checkpointing = f"not possible in this family: {why}"
        else:
            self._checkpointing = f"on: {why}"
