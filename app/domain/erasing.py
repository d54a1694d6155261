"""What else goes when exchanges are erased: who repeats their words, and what quotes them.

A live session sends what was said before as `history`, so the words of one exchange lie in many.
Three things are told apart:

- an exchange whose own words are those of the erased one, or hold all of its reply or of a prompt
  that nobody else asked, goes too;
- history, system prompt, tool calls and metadata that quote it lose what they quote;
- a prompt that other exchanges ask by themselves is theirs as well: they stay, and are named.

Must not know where exchanges are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.verbatim import REMOVED, Source, split

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """An exchange's own words; `seq` is whatever tells exchanges apart."""

    seq: int
    prompt: str
    response: str
    session: str | None = None
    system_prompt: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoting:
    """What an exchange carries beside its own words, which may quote others."""

    session: str | None
    history: Sequence[Json]
    system_prompt: str | None
    tool_calls: Sequence[Json]
    metadata: Json


@dataclass(frozen=True, slots=True)
class _Sought:
    """One erased exchange's words, split."""

    said: Said
    prompt: Source
    reply: Source


class _Words:
    """An exchange's own words, split."""

    def __init__(self, prompt: list[str], response: list[str]) -> None:
        self.prompt = prompt
        self.response = response
        self.known = frozenset(prompt).union(response)


class ErasedWords:
    """The words of some exchanges that are erased, and what became of them elsewhere."""

    def __init__(self) -> None:
        self._sought: dict[int, _Sought] = {}
        self._shared: set[int] = set()
        self.repeated_by: set[int] = set()

    def look(self, erased: Sequence[Said], others: Iterable[Said]) -> list[Said]:
        """Look for the words of these in the own words of others; returns those that go too.

        Those that hold some of it and stay are noted in `repeated_by`.
        """
        new = [_Sought(it, Source.of(it.prompt), Source.of(it.response)) for it in erased]
        self._sought.update((item.said.seq, item) for item in new)
        going: dict[int, Said] = {}
        with_question: list[tuple[int, Said]] = []
        for other in others:
            if other.seq in self._sought:
                continue
            words = _Words(split(other.prompt), split(other.response))
            for item in new:
                if item.prompt.may_stand_in(words.known) or item.reply.may_stand_in(words.known):
                    self._compare(item, other, words, going, with_question)
        for seq, other in with_question:
            if seq not in self._shared:
                going[other.seq] = other
        self.repeated_by -= going.keys() | self._sought.keys()
        return list(going.values())

    def strip(self, quoting: Quoting) -> Quoting | None:
        """The same without what quotes the erased; None where nothing does."""
        known = frozenset(split("\n".join(_texts(quoting))))
        sought = [
            item
            for item in self._sought.values()
            if item.prompt.may_stand_in(known)
            or item.reply.may_stand_in(known)
            or not (item.prompt.words and item.reply.words)
        ]
        if not sought:
            return None
        history = list(quoting.history)
        for item in sought:
            history = self._without_turns(history, item, quoting.session)
        system_prompt = quoting.system_prompt
        if system_prompt is not None and any(
            system_prompt != item.said.system_prompt and self._is_quoted(item, system_prompt)
            for item in sought
        ):
            system_prompt = None
        stripped = Quoting(
            session=quoting.session,
            history=history,
            system_prompt=system_prompt,
            tool_calls=self._without_quotes(quoting.tool_calls, sought),
            metadata=self._without_quotes(quoting.metadata, sought),
        )
        return None if stripped == quoting else stripped

    def _compare(
        self,
        item: _Sought,
        other: Said,
        words: _Words,
        going: dict[int, Said],
        with_question: list[tuple[int, Said]],
    ) -> None:
        prompt, response = words.prompt, words.response
        is_same_prompt = tuple(prompt) == item.prompt.words
        if (is_same_prompt and tuple(response) == item.reply.words) or (
            item.reply.is_unmistakable
            and (item.reply.is_whole_in(response) or item.reply.is_whole_in(prompt))
        ):
            going[other.seq] = other
            return
        if is_same_prompt:
            self._shared.add(item.said.seq)
            if item.prompt.is_telling:
                self.repeated_by.add(other.seq)
        elif item.prompt.is_unmistakable and (
            item.prompt.is_whole_in(response) or item.prompt.is_whole_in(prompt)
        ):
            with_question.append((item.said.seq, other))
        if any(
            source.is_copied_in(text)
            for source in (item.prompt, item.reply)
            for text in (prompt, response)
        ):
            self.repeated_by.add(other.seq)

    def _is_quoted(self, item: _Sought, text: str) -> bool:
        words = split(text)
        if item.reply.is_telling and item.reply.is_copied_in(words):
            return True
        is_own = item.said.seq not in self._shared
        return is_own and item.prompt.is_telling and item.prompt.is_copied_in(words)

    def _without_turns(self, history: list[Json], item: _Sought, session: str | None) -> list[Json]:
        """The turns, without those that quote it, are it, or are too short to tell by themselves.

        What is short is known by standing together, prompt and reply; in its own session alone too.
        """
        gone = {at for at, turn in enumerate(history) if self._is_quoted(item, turn["content"])}
        is_own_session = session is not None and session == item.said.session
        asked_at: int | None = None
        for at, turn in enumerate(history):
            text = turn["content"]
            if turn["role"] == "user":
                asked_at = at if _is_same(text, item.said.prompt, item.prompt) else None
                if asked_at is not None and is_own_session and item.said.seq not in self._shared:
                    gone.add(at)
            elif (
                turn["role"] == "assistant"
                and (asked_at is not None or is_own_session)
                and _is_same(text, item.said.response, item.reply)
            ):
                gone |= {at} if asked_at is None else {asked_at, at}
        return [
            {**turn, "content": REMOVED} if at in gone else turn for at, turn in enumerate(history)
        ]

    def _without_quotes(self, value: Any, sought: Sequence[_Sought]) -> Any:
        if isinstance(value, str):
            return REMOVED if any(self._is_quoted(item, value) for item in sought) else value
        if isinstance(value, Mapping):
            return {
                self._without_quotes(key, sought): self._without_quotes(item, sought)
                for key, item in value.items()
            }
        if isinstance(value, Sequence):
            return [self._without_quotes(item, sought) for item in value]
        return value


def what_is_left(history: Sequence[Json]) -> Sequence[Json]:
    """The turns after the last that was removed, from a user's on: what came before hangs on it."""
    gone = [at for at, turn in enumerate(history) if turn["content"] == REMOVED]
    if not gone:
        return history
    rest = history[gone[-1] + 1 :]
    asked = [at for at, turn in enumerate(rest) if turn["role"] == "user"]
    return rest[asked[0] :] if asked else ()


def _is_same(text: str, said: str, source: Source) -> bool:
    return tuple(split(text)) == source.words if source.words else text.strip() == said.strip()


def _texts(quoting: Quoting) -> Iterable[str]:
    """All that may quote, as text; fields and numbers of JSON among it."""
    yield quoting.system_prompt or ""
    for turn in quoting.history:
        yield turn["content"]
    yield from _strings(quoting.tool_calls)
    yield from _strings(quoting.metadata)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
