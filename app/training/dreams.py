"""What a cycle dreams, as training examples, and what the model recalls before and after.

Asked and trained where sessions speak: under the system prompt of the exchange that a dream is of.
Must not know databases or reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from app.domain.dreams import Dream, DreamKind, Night, claims_to_know, plan_night
from app.domain.experience import TrainingExchange
from app.domain.recall import DreamCount, RecallReport, Recollection, compare
from app.domain.recipe import Recipe
from app.domain.untold import plan_untold
from app.errors import ExchangeUnfit
from app.training.anchors import answered_by_base
from app.training.chat import ChatEncoder
from app.training.evaluate import median_nats, token_log_probabilities
from app.training.examples import TrainingExample, make_example
from app.training.generation import Draw, continue_prompts
from app.training.lessons import find_sound
from app.training.loading import BaseModel

ROWS = 16
"""Questions that are asked at once."""

MAX_ASKED = 48
"""Statements that a cycle asks for, spread over all of them: a reply to 16 of them takes 2 s on the
embedded model."""

REPLY_TOKENS = 48

UNTOLD_TOKENS = 3
"""Of what the base says to what nobody told: whether to claim to know is decided by the first."""


class BareAnswers:
    """What a night needs of the bare base.

    How it begins its answers to questions about what nobody told, and which of a teacher's lessons
    it finds in what was told.

    Args:
        base: Without an adapter.
        exchanges: What the cycle trains on, and all that it may rehearse.
        also_told: What else the instance was told.
    """

    def __init__(
        self,
        base: BaseModel,
        encoder: ChatEncoder,
        exchanges: Sequence[TrainingExchange],
        recipe: Recipe,
        also_told: Sequence[TrainingExchange],
    ) -> None:
        plan = plan_untold(exchanges, recipe.dreams, seed=recipe.seed, also_told=also_told)
        room = recipe.max_length - UNTOLD_TOKENS
        trained, asked = (
            [one for one in part if len(_prompt_of(one, encoder)) <= room]
            for part in (plan.trained, plan.asked)
        )
        self.asked = tuple(asked)
        """Never trained on."""
        self.replies = tuple(_reply(base, encoder, asked))
        """The base's, to them."""
        self.references = answered_by_base(
            base,
            [_prompt_of(one, encoder) for one in trained],
            base.end_ids | encoder.end_ids,
            new_tokens=UNTOLD_TOKENS,
        )
        """To be kept to."""
        self.lessons = find_sound(base, encoder, exchanges)


class Dreams:
    """What one cycle dreams, and how much of it its model recalled before.

    Args:
        base: With the adapter attached as it is before training.
        exchanges: What the cycle trains on, what it rehearses among them.

    What does not fit the model's room is left out.
    """

    def __init__(
        self,
        base: BaseModel,
        encoder: ChatEncoder,
        exchanges: Sequence[TrainingExchange],
        recipe: Recipe,
        bare: BareAnswers,
    ) -> None:
        night = plan_night(exchanges, recipe.dreams, seed=recipe.seed)
        quotes = [example for _, example in _encode(encoder, night.trained)]
        ids = {one.experience_id for one in exchanges}
        self._lessons = [one for one in bare.lessons if one.source.experience_id in ids]
        lessons = [one.example for one in self._lessons]
        asked = list(_encode(encoder, spread(night)))
        self._encoder = encoder
        self._night = night
        self._asked = [dream for dream, _ in asked]
        self._bare = bare
        self._counts = (
            DreamCount(kind=DreamKind.QUOTE, trained=len(quotes)),
            DreamCount(kind=DreamKind.LESSON, trained=len(lessons)),
            DreamCount(kind=DreamKind.UNTOLD, trained=len(bare.references.examples)),
        )
        self.examples = tuple(interleave(lessons, quotes) if lessons else quotes)
        """To be trained on."""
        self.unasked = tuple(example for _, example in asked)
        """One question a statement that is never trained on."""
        self._before = recollect(base, encoder, self._asked)
        self._nats_before = self._median_nats(base)

    def report(self, base: BaseModel) -> RecallReport:
        """What is recalled now, beside what was.

        Args:
            base: With what was trained.
        """
        return RecallReport(
            counts=self._counts,
            statements=compare(self._before, recollect(base, self._encoder, self._asked)),
            nats_before=self._nats_before,
            nats_after=self._median_nats(base),
            invented_base=self.invented_base,
            invented_after=self.invented_by(base),
        )

    @property
    def invented_base(self) -> float:
        """Of questions about what nobody told, the share that the bare base answers as if told."""
        return self._share_invented(self._bare.replies)

    def invented_by(self, base: BaseModel) -> float:
        """The same by another model; NaN where nothing is asked."""
        return self._share_invented(_reply(base, self._encoder, self._bare.asked))

    def _share_invented(self, replies: Iterable[str]) -> float:
        taught = [one.answer for one in self._lessons]
        claimed = [
            claims_to_know(reply, question, self._night, taught)
            for question, reply in zip(self._bare.asked, replies, strict=True)
        ]
        return sum(claimed) / len(claimed) if claimed else math.nan

    def _median_nats(self, base: BaseModel) -> float:
        return median_nats(token_log_probabilities(base, self.unasked))


def spread(night: Night) -> list[Dream]:
    """So many of the questions as a cycle has time for, from the first statement to the last."""
    asked = night.asked
    if len(asked) <= MAX_ASKED:
        return list(asked)
    return [asked[place * len(asked) // MAX_ASKED] for place in range(MAX_ASKED)]


def interleave(
    ordinary: Sequence[TrainingExample], dreams: Sequence[TrainingExample]
) -> list[TrainingExample]:
    """Exchanges among dreams, evenly, each in its own order: no batch is without the other."""
    places = [(place + 0.5) / len(ordinary) for place in range(len(ordinary))]
    among = [(place + 0.5) / len(dreams) for place in range(len(dreams))]
    numbered = [(at, 0, i) for i, at in enumerate(places)]
    numbered += [(at, 1, i) for i, at in enumerate(among)]
    return [dreams[i] if of_dreams else ordinary[i] for _, of_dreams, i in sorted(numbered)]


def recollect(base: BaseModel, encoder: ChatEncoder, asked: Sequence[Dream]) -> list[Recollection]:
    """Ask a model for each statement, greedily, and say whether it tells it."""
    replies = _reply(base, encoder, [dream.exchange for dream in asked])
    return [
        Recollection(
            experience_id=dream.exchange.experience_id,
            role=dream.exchange.role,
            is_recalled=dream.statement.is_recalled_in(reply, dream.exchange.prompt),
        )
        for dream, reply in zip(asked, replies, strict=True)
    ]


def _reply(
    base: BaseModel, encoder: ChatEncoder, asked: Sequence[TrainingExchange]
) -> Iterable[str]:
    draws = [Draw(prompt=_prompt_of(one, encoder)) for one in asked]
    ends = base.end_ids | encoder.end_ids
    for start in range(0, len(draws), ROWS):
        for ids in continue_prompts(
            base.model, draws[start : start + ROWS], new_tokens=REPLY_TOKENS, end_ids=ends
        ):
            yield str(base.tokenizer.decode(ids, skip_special_tokens=True))


def _prompt_of(asked: TrainingExchange, encoder: ChatEncoder) -> tuple[int, ...]:
    return tuple(encoder.encode_prompt(asked.prompt, system_prompt=asked.system_prompt))


def _encode(
    encoder: ChatEncoder, dreams: Iterable[Dream]
) -> Iterable[tuple[Dream, TrainingExample]]:
    for dream in dreams:
        try:
            yield dream, make_example(dream.exchange, encoder)
        except ExchangeUnfit:
            continue
