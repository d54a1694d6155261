"""Look for the texts that cost ingest and curation most, against prose of the same length.

    python -m tests.benchmarks.worst_texts [seconds]

A text is made of few pieces by one of few shapes, at random; the dearest so far are changed a
little, again and again. Printed are the dearest of each work and their ratio to prose. CPU time is
what is compared, so a busy machine changes little.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.db.seen_words import word_hash
from app.domain.compared import compared_words
from app.domain.exchange import MAX_TEXT_CHARACTERS, Exchange
from app.domain.language import find_language
from app.domain.policy import SleepPolicy
from app.domain.replies import SeededReply, measure_replies
from app.domain.reply_parts import part_reply, said_in
from app.domain.salience import distinct_words
from app.domain.scripts import fold
from app.domain.traits import CurationRules, TraitReader
from app.domain.verbatim import holds_copy
from app.domain.words import reply_words
from app.services.judging import Judge

PIECES = (
    "a", "ab", "ab.", "a b. ", ".", "!", "?", ":", "...", " ", "\n", "\t", "\r", "\0", "1", "12. ",
    "- ", "(", ")", "[", "]", "[x] ", "<", ">", "<|", "|>", "'", '"', "’", "`", "```", "_", "=",
    "/", "\\", "@", "é", "İ", "語", "。", "\u0301", "😀", "<think>", "</think>", "<tool_call>",
    "</tool_call>", "[TOOL_CALLS]", "<|channel|>", "<|start|>", "<|im_end|>", "<s>", "◁think▷",
    "error: ", "error", "http ", "timed out ", "no response ", "as an ", "don't know", "we ",
    "specifically", "i am ", "named ", "you are ", "and", "user\n", "x ", "--", ",", "—",
)  # fmt: skip
SHAPES = ("repeated", "counted", "scattered", "framed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a text is made; `seed` is that of what is left to chance."""

    shape: str
    pieces: tuple[str, ...]
    seed: int

    def make(self, length: int = MAX_TEXT_CHARACTERS) -> str:
        """The text."""
        chance = random.Random(self.seed)  # noqa: S311  # no secret
        first, *others = self.pieces
        match self.shape:
            case "repeated":
                text = "".join(self.pieces) * length
            case "counted":
                signs = (chr(0x4E00 + number % 20_000) for number in range(length))
                text = "".join(f"{sign}{''.join(self.pieces)}" for sign in signs)
            case "scattered":
                text = "".join(chance.choices(self.pieces, k=length))
            case _:
                end = "".join(others)
                text = end + first * (length - 2 * len(end)) + end
                return text[-length:]
        return text[:length]

    def changed(self, chance: random.Random) -> Recipe:
        """One that differs a little."""
        pieces = list(self.pieces)
        match chance.randrange(4):
            case 0:
                pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(PIECES))
            case 1 if len(pieces) > 1:
                pieces.pop(chance.randrange(len(pieces)))
            case 2:
                pieces[chance.randrange(len(pieces))] = chance.choice(PIECES)
            case _:
                return replace(self, shape=chance.choice(SHAPES))
        return replace(self, pieces=tuple(pieces), seed=chance.randrange(1 << 16))


def prose(seed: int, length: int = MAX_TEXT_CHARACTERS) -> str:
    """Sentences of 4,000 words of made-up English."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    letters = "etaoinshrdlu"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(4000)]
    text = ""
    while len(text) < length:
        sentences = (
            " ".join(chance.choices(words, k=chance.randint(6, 18))) + ". " for _ in range(99)
        )
        text += "".join(sentences)
    return text[:length]


def judge_at_ingest(text: str, recent: Sequence[str]) -> None:
    """All that ingest computes of a reply."""
    exchange = Exchange(prompt="p", response=text)
    Judge().judge(exchange, recent_responses=recent, new_word_share=0.5)
    for word in distinct_words(said_in(text)):
        word_hash(word)


RULES = CurationRules.of(
    SleepPolicy(
        near_duplicate_jaccard=0.8,
        category_floors={"identity": 0.1, "uncertainty": 0.1, "reality_testing": 0.1},
    )
)


def read_for_curation(text: str, recent: Sequence[str]) -> None:
    """What curation and the gate compute of a text."""
    TraitReader(RULES).read(prompt=text, response=text, phase=None)
    holds_copy(text, recent[-1])
    replies = [SeededReply(prompt="p", seed=1, text=text)]
    measure_replies(replies, training_replies=recent[-1:], names=("SAGE",))


WORKS: dict[str, Callable[[str, Sequence[str]], None]] = {
    "ingest": judge_at_ingest,
    "curation": read_for_curation,
}


def cost(work: Callable[[str, Sequence[str]], None], text: str, recent: Sequence[str]) -> float:
    """CPU seconds, the lesser of two runs, with nothing known from before."""
    taken = []
    for _ in range(2):
        for remembered in (part_reply, reply_words, compared_words, find_language, fold):
            remembered.cache_clear()
        started = time.thread_time()
        work(text, recent)
        taken.append(time.thread_time() - started)
    return min(taken)


def dearest_of(
    work: Callable[[str, Sequence[str]], None], text: str, others: Sequence[str]
) -> float:
    """What a text costs after five like it, or after five others, whichever is more."""
    alike = [text[number:] + text[:number] for number in range(1, 6)]
    return max(cost(work, text, alike), cost(work, text, others))


def search(seconds: float, seed: int) -> dict[str, list[tuple[float, Recipe]]]:
    """Ratios to prose and recipes, dearest first, of each work."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    recent = [prose(number) for number in range(5)]
    found: dict[str, list[tuple[float, Recipe]]] = {}
    for name, work in WORKS.items():
        of_prose = cost(work, prose(5), recent)
        tried: dict[Recipe, float] = {}
        end = time.monotonic() + seconds / len(WORKS)
        while time.monotonic() < end:
            best = sorted(tried, key=tried.__getitem__, reverse=True)[:8]
            if best and chance.random() < 0.7:
                recipe = chance.choice(best).changed(chance)
            else:
                pieces = tuple(chance.choices(PIECES, k=chance.randint(1, 4)))
                recipe = Recipe(shape=chance.choice(SHAPES), pieces=pieces, seed=0)
            if recipe not in tried:
                tried[recipe] = dearest_of(work, recipe.make(), recent) / of_prose
        found[name] = sorted(((ratio, one) for one, ratio in tried.items()), key=lambda x: -x[0])
    return found


if __name__ == "__main__":
    for name, ranked in search(float((*sys.argv, "60")[1]), seed=1).items():
        print(f"{name}: {len(ranked)} texts of {MAX_TEXT_CHARACTERS} characters")
        for ratio, recipe in ranked[:10]:
            print(f"  {ratio:6.2f} x prose  {recipe.shape:9} {recipe.pieces!r}")
