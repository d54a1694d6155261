"""General prompts with the base model's own answers, and how far a model has moved from them.

Two sets:

- anchors: everyday prompts, each answered once by the bare base, greedily. For rehearsal, for the
  KL term of training, and for measuring.
- general pairs: other everyday prompts with written answers. Only ever measured on.

Both are asked twice: bare, without a system prompt, so that they belong to the base alone; and
in session, under the system prompts of the instance's sessions and half of them after an earlier
exchange, since that is where the model lives, and what an adapter changes there the bare question
does not show.

Kept with each set are the base's last hidden states at the answers' positions, from which its
whole distribution comes back with one product: KL needs no second forward pass of the base, and no
second model in memory.

    KL(base || model) = sum_v p_v (log p_v - log q_v),  p of the base, q of the model, per token

Must not know adapters, experiences or what a cycle does with the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import torch
from transformers import PreTrainedModel

from app.domain.experience import TrainingExchange, Turn
from app.domain.salience import COMPONENTS, Salience
from app.training.chat import IGNORED_LABEL, ChatEncoder
from app.training.examples import TrainingExample, make_example, targets_of
from app.training.generation import Draw, continue_prompts
from app.training.kept import KeptFiles
from app.training.loading import BaseModel
from app.training.logits import logits_of
from app.training.states import supervised_states

ANCHOR_TOKENS = 60
"""Of an answer, at most. A guess."""

CHUNK_TOKENS = 128
"""Rows of float32 logits alive at once, twice: 50 MB for SmolLM2."""

SYSTEM_TOKENS = 512
"""Of a session's system prompt; what a longer one ends with is not asked under. A guess."""

_MAX_LENGTH = 512 + SYSTEM_TOKENS
_HISTORY_AHEAD = 5
"""So that no general pair is measured behind itself."""

_FORMAT = 2
"""Of what is kept: another number, and every base's answers are made again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralPrompts:
    """The prompts that come with the project."""

    anchors: tuple[str, ...]
    general: tuple[tuple[str, str], ...]
    probes: tuple[str, ...]
    endings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """How the prompt of a number is asked; bare where sessions have no system prompts."""

    number: int
    system_prompts: tuple[str, ...]

    @property
    def system_prompt(self) -> str:
        """The sessions' in turn."""
        prompts = self.system_prompts
        return prompts[self.number % len(prompts)] if prompts else ""

    @property
    def history(self) -> tuple[Turn, ...]:
        """Every other two prompts come after an everyday exchange; no loss is taken on that."""
        if not self.system_prompts or self.number // 2 % 2 == 0:
            return ()
        pairs = general_prompts().general
        prompt, answer = pairs[(self.number + _HISTORY_AHEAD) % len(pairs)]
        return (Turn(role="user", content=prompt), Turn(role="assistant", content=answer))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceSet:
    """Examples with what the bare base makes of them.

    Attributes:
        examples: Labels on the answer only.
        hidden: Of each example the base's last hidden states, (N, H) in the base's dtype on the
            CPU; N supervised tokens, each at the position that predicts it.
        nll: Of each example the base's own loss, float32 (N,), nats.
    """

    examples: tuple[TrainingExample, ...]
    hidden: tuple[torch.Tensor, ...]
    nll: tuple[torch.Tensor, ...]

    def first(self, count: int) -> ReferenceSet:
        """The first examples alone."""
        return self.chosen(range(min(count, len(self.examples))))

    def chosen(self, indices: Iterable[int]) -> ReferenceSet:
        """The examples at these places alone."""
        wanted = tuple(indices)
        return ReferenceSet(
            examples=tuple(self.examples[i] for i in wanted),
            hidden=tuple(self.hidden[i] for i in wanted),
            nll=tuple(self.nll[i] for i in wanted),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Both sets of one base, asked in one way."""

    anchors: ReferenceSet
    general: ReferenceSet


def mixed(bare: ReferenceSet, in_session: ReferenceSet, share: float) -> ReferenceSet:
    """Each prompt once: so large a share of them asked in session, evenly spread, the rest bare.

    Args:
        bare: As many examples as in `in_session`, of the same prompts.
        share: 0..1.
    """
    count = len(bare.examples)
    of = [in_session if int((n + 1) * share) > int(n * share) else bare for n in range(count)]
    return ReferenceSet(
        examples=tuple(asked.examples[n] for n, asked in enumerate(of)),
        hidden=tuple(asked.hidden[n] for n, asked in enumerate(of)),
        nll=tuple(asked.nll[n] for n, asked in enumerate(of)),
    )


@lru_cache(maxsize=1)
def general_prompts() -> GeneralPrompts:
    """Read the packaged prompts."""
    text = (files("app.training") / "general_prompts.json").read_text(encoding="utf-8")
    stored = json.loads(text)
    return GeneralPrompts(
        anchors=tuple(stored["anchors"]),
        general=tuple((prompt, answer) for prompt, answer in stored["general"]),
        probes=tuple(stored["probes"]),
        endings=tuple(stored["endings"]),
    )


def load_or_make_references(
    base: BaseModel, kept: KeptFiles, system_prompts: Sequence[str] = ()
) -> References:
    """Read both sets of a base, or make and keep them.

    Args:
        base: Without an adapter: with one attached, its answers would be the adapter's.
        kept: The base's files.
        system_prompts: Of the instance's sessions, to ask as they do; none asks bare.
    """
    cut = tuple(_shorten(prompt, base) for prompt in system_prompts)
    asked = [_Asked(number, cut) for number in range(len(general_prompts().anchors))]
    encoder = ChatEncoder(base.tokenizer, system_prompt="", max_length=_MAX_LENGTH)
    prompts = [
        tuple(encoder.encode_prompt(prompt, system_prompt=how.system_prompt, history=how.history))
        for how, prompt in zip(asked, general_prompts().anchors, strict=True)
    ]
    general = [
        _general_example(pair, encoder, how)
        for how, pair in zip(asked, general_prompts().general, strict=False)
    ]
    # Past the end of its turn a base goes on to invent the next one, and would be trained to.
    end_ids = base.end_ids | encoder.end_ids
    # Those of sessions hold their system prompts, and go with what is erased.
    kind = "session-references" if system_prompts else "references"
    name = f"{kind}-{_key(base, prompts, general, end_ids)}.safetensors"
    stored = kept.find_tensors(name)
    if stored is not None:
        found = _unpack(stored, len(prompts), general)
        if found is not None:
            return found
    made = References(
        anchors=_reference(base, _answer(base, prompts, end_ids)), general=_reference(base, general)
    )
    kept.keep_tensors(name, _pack(made))
    return made


def answered_by_base(
    base: BaseModel, prompts: Sequence[tuple[int, ...]], end_ids: frozenset[int], *, new_tokens: int
) -> ReferenceSet:
    """Prompts with what the base says to them first.

    Args:
        base: Without an adapter: with one attached, its answers would be the adapter's.
        prompts: Token ids.
        new_tokens: Of each answer, at most.
    """
    return _reference(base, _answer(base, prompts, end_ids, new_tokens))


def _shorten(system_prompt: str, base: BaseModel) -> str:
    encoded = base.tokenizer(system_prompt, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"][:SYSTEM_TOKENS]
    return system_prompt[: offsets[-1][1]] if offsets else system_prompt


def kl_to_base(
    model: PreTrainedModel, base_hidden: torch.Tensor, hidden: torch.Tensor
) -> torch.Tensor:
    """KL(base || model) of every token, float32 (N,), nats.

    With gradient for `hidden`, so that it may stand in a training loss.

    Args:
        model: Gives the output layer, which no adapter of this project touches.
        base_hidden: (N, H) as a `ReferenceSet` keeps them.
        hidden: (N, H) of the same tokens.
    """
    parts = []
    for start in range(0, len(hidden), CHUNK_TOKENS):
        part = slice(start, start + CHUNK_TOKENS)
        # p is a constant: the base does not learn.
        with torch.no_grad():
            expected = log_probabilities(model, base_hidden[part].to(hidden.device))
        actual = log_probabilities(model, hidden[part])
        parts.append((expected.exp() * (expected - actual)).sum(dim=-1))
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def log_probabilities(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the whole vocabulary, float32 (N, V), as the model itself makes them."""
    return torch.log_softmax(logits_of(model, hidden), dim=-1)


def _answer(
    base: BaseModel,
    prompts: Sequence[tuple[int, ...]],
    end_ids: frozenset[int],
    new_tokens: int = ANCHOR_TOKENS,
) -> list[TrainingExample]:
    """The prompts with the base's own answers, its end of turn included where it came to one."""
    answers = continue_prompts(
        base.model,
        [Draw(prompt=prompt) for prompt in prompts],
        new_tokens=new_tokens,
        end_ids=end_ids,
    )
    return [
        _example(f"anchor-{number}", list(prompt) + answer, len(prompt))
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def _example(name: str, ids: Sequence[int], prompt_length: int) -> TrainingExample:
    input_ids = torch.tensor(ids)
    labels = input_ids.clone()
    labels[:prompt_length] = IGNORED_LABEL  # what was asked is no answer to stay near
    return TrainingExample(
        input_ids=input_ids,
        labels=labels,
        attention_mask=torch.ones_like(input_ids),
        salience=_no_salience().total,
        salience_breakdown=_no_salience().components(),
        experience_id=name,
        session=None,
        phase=None,
    )


def _general_example(pair: tuple[str, str], encoder: ChatEncoder, how: _Asked) -> TrainingExample:
    prompt, answer = pair
    exchange = TrainingExchange(
        experience_id="general",
        prompt=prompt,
        response=answer,
        salience=_no_salience(),
        system_prompt=how.system_prompt,
        history=how.history,
    )
    return make_example(exchange, encoder)


def _no_salience() -> Salience:
    """General material has none; 0.5 lets it count as an example of middling salience would."""
    return Salience(**dict.fromkeys(COMPONENTS, 0.5))


def _reference(base: BaseModel, examples: Sequence[TrainingExample]) -> ReferenceSet:
    hidden = supervised_states(base, examples)
    with torch.no_grad():
        nll = [
            -log_probabilities(base.model, states)
            .gather(1, targets_of(example).to(states.device).unsqueeze(1))
            .squeeze(1)
            .cpu()
            for example, states in zip(examples, hidden, strict=True)
        ]
    return ReferenceSet(
        examples=tuple(examples),
        hidden=tuple(states.cpu() for states in hidden),
        nll=tuple(nll),
    )


def _key(
    base: BaseModel,
    prompts: Sequence[tuple[int, ...]],
    general: Sequence[TrainingExample],
    end_ids: frozenset[int],
) -> str:
    """What else the answers depend on: template and tokenizer (in the ids), dtype and device."""
    facts = [
        _FORMAT,
        ANCHOR_TOKENS,
        base.numbers,
        base.device.type,
        sorted(end_ids),
        [list(prompt) for prompt in prompts],
        [example["input_ids"].tolist() for example in general],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _pack(references: References) -> dict[str, torch.Tensor]:
    tensors = {}
    for kind, group in (("anchors", references.anchors), ("general", references.general)):
        for i, (states, nll) in enumerate(zip(group.hidden, group.nll, strict=True)):
            tensors[f"{kind}.{i}.hidden"] = states
            tensors[f"{kind}.{i}.nll"] = nll
    for i, example in enumerate(references.anchors.examples):
        tensors[f"anchors.{i}.input_ids"] = example["input_ids"]
        tensors[f"anchors.{i}.labels"] = example["labels"]
    return tensors


def _unpack(
    stored: dict[str, torch.Tensor], anchors: int, general: Sequence[TrainingExample]
) -> References | None:
    """The sets as they were kept; None where a part is missing."""
    try:
        examples = [
            _example(
                f"anchor-{i}",
                stored[f"anchors.{i}.input_ids"].tolist(),
                int((stored[f"anchors.{i}.labels"] == IGNORED_LABEL).sum()),
            )
            for i in range(anchors)
        ]
        return References(
            anchors=_read_set(stored, "anchors", examples),
            general=_read_set(stored, "general", general),
        )
    except KeyError:
        return None


def _read_set(
    stored: dict[str, torch.Tensor], kind: str, examples: Sequence[TrainingExample]
) -> ReferenceSet:
    return ReferenceSet(
        examples=tuple(examples),
        hidden=tuple(stored[f"{kind}.{i}.hidden"] for i in range(len(examples))),
        nll=tuple(stored[f"{kind}.{i}.nll"] for i in range(len(examples))),
    )
