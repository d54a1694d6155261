"""A rendered conversation as tokens, so that what was said stays text.

A tokenizer takes a control token for one wherever it stands. The template's own are meant; those
within a content are words about them, and would open or end a turn. Must not know whose a content
is, labels or lengths.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from app.domain.reply_parts import CONTROL_TOKEN, REASONING_TAGS, TOOL_TAGS
from app.training.template import TemplateRefuses

_TAGS = frozenset(tag.lower() for pair in (*REASONING_TAGS, *TOOL_TAGS) for tag in pair if tag)
_ROUNDS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """A text as tokens: their ids and the characters `[start, end)` that each stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TextReader:
    """Tokenises rendered conversations for one tokenizer.

    Attributes:
        control: The tokens by which its template gives a conversation its form, by id.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._guard = _guard_of(tokenizer)
        self.control = _control_tokens(tokenizer)

    def read(self, text: str, spans: Sequence[tuple[int, int]], edges: Sequence[int]) -> Tokens:
        """Tokenise a rendered text so that control tokens within contents are text.

        Where one is found it is taken apart behind its first character, and so is a token that
        straddles an edge of the reply: with the prompt alone before it no model could write it.
        """
        cuts: set[int] = set()
        tokens = self._read_pieces(text, cuts)
        for _ in range(_ROUNDS):
            found = set(self._leaks(text, tokens, spans))
            for edge in edges:
                place = bisect_left(tokens.offsets, (edge, 0)) - 1
                if place >= 0 and tokens.offsets[place][1] > edge:
                    found.add(edge)
            if found <= cuts:
                return tokens
            cuts |= found
            tokens = self._read_pieces(text, cuts)
        if set(self._leaks(text, tokens, spans)) <= cuts:
            return tokens
        raise TemplateRefuses("control tokens in the text cannot be told from the template's own")

    def _read_pieces(self, text: str, cuts: Iterable[int]) -> Tokens:
        edges = sorted({0, *cuts, len(text)})
        pieces = [text[start:end] for start, end in pairwise(edges)] or [""]
        guarded = [pieces[0], *(self._guard + piece for piece in pieces[1:])]
        encoded = self._tokenizer(guarded, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        for number, more in enumerate(encoded["input_ids"]):
            skipped = 1 if number and self._guard else 0
            shift = edges[number] - len(self._guard) * skipped
            ids += more[skipped:]
            offsets += [
                (shift + start, shift + end)
                for start, end in encoded["offset_mapping"][number][skipped:]
            ]
        return Tokens(ids=ids, offsets=offsets)

    def _leaks(self, text: str, tokens: Tokens, spans: Sequence[tuple[int, int]]) -> Iterable[int]:
        """Where control tokens stand within contents: behind the first character of each."""
        starts = [start for start, _ in spans]
        for token, (start, end) in zip(tokens.ids, tokens.offsets, strict=True):
            name = self.control.get(token)
            if name is None or end - start < 2:
                continue
            written = text[start:end]
            begin = start + len(written) - len(written.lstrip())
            place = bisect_left(starts, begin + 1) - 1
            if place >= 0 and begin < spans[place][1] and written.strip() == name.strip():
                yield begin + 1


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Tokens by which a template gives a conversation its form, by id.

    A tokenizer calls some of them special, and not all: those that its template writes, and those
    that look like it, are meant as well. Added tokens that are words or white space are text.
    """
    template = str(tokenizer.chat_template)
    found = {}
    for token, number in tokenizer.get_added_vocab().items():
        is_bracketed = not token[:1].isalnum() and not token[-1:].isalnum() and len(token) > 2
        if (
            CONTROL_TOKEN.fullmatch(token)
            or token.lower() in _TAGS
            or (is_bracketed and token.strip() and token in template)
        ):
            found[number] = token
    special = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=False)
    return found | {number: str(token) for number, token in special}


def _guard_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What goes before a piece of text that is no beginning, or nothing where that is no matter.

    SentencePiece puts a space before the first word of all that it is given; behind a control
    token it is given no first word. One that swallows white space after it would be no guard.
    """
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    if not str(tokenizer.convert_ids_to_tokens(ids)[0]).startswith("\u2581"):
        return ""
    for token in tokenizer.all_special_tokens:
        probe = tokenizer(f"{token} a", add_special_tokens=False, return_offsets_mapping=True)
        is_one = probe["offset_mapping"][0] == (0, len(str(token)))
        if is_one and len(probe["input_ids"]) > 1:
            return str(token)
    return ""
