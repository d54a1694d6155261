"""Session transcripts of the older scripts, and others that name their speakers.

They were written in several shapes: `{"session", "phase", "start", "conversation": [...]}` with
turns `{"speaker", "text"}`, or `{"claude", "sage", "timestamp"}` for both at once; `exercises` and
`results` whose prompt stands beside the response or one level below; and one turn a line, as
`{"sender", "text", "css_class", "timestamp"}`.

Who is the model: SAGE, assistant and the like, or who the caller names. Everyone else asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.imports.messages import common_of, time_of
from app.imports.turns import Draft, Missing, Role, Turn, Unreadable, exchanges_of

LISTS = ("conversation", "turns", "transcript", "dialogue", "dialog", "messages", "exchanges")
PLURAL = "conversations"
"""May hold the turns of one conversation, and in other files whole records."""

EXERCISES = ("exercises", "results", "probes")
SPEAKERS = ("speaker", "sender", "role", "from", "author")
TEXTS = ("text", "content", "message", "value")
QUESTIONS = ("prompt", "question", "probe", "exercise")
ANSWERS = ("response", "answer", "reply")
MODELS = frozenset({"sage", "assistant", "model", "bot", "ai", "gpt", "chatgpt"})
KINDS = ("type", "machine", "model", "generation_mode", "track")
"""What a session says of itself that is kept with its exchanges."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A turn as it is written: who, what, and what the page took them for."""

    speaker: str
    text: str
    kind: str | None
    at: Any


def is_line(value: Any) -> bool:
    """Whether a value is one turn with its speaker."""
    return isinstance(value, dict) and _find_line(value) is not None


def is_pair(value: Any) -> bool:
    """Whether a value is what one asked and the other said."""
    return isinstance(value, dict) and not is_line(value) and bool(_named_texts(value))


def fits(record: Any) -> bool:
    """Whether a record is a session in one of these shapes."""
    if not isinstance(record, dict):
        return False
    turns = _turns_of(record)
    if turns is not None and all(is_line(turn) or is_pair(turn) for turn in turns):
        return True
    return any(_read_exercise(item) for item in _list_of(record, EXERCISES) or ())


def read(record: Any, models: Collection[str] = ()) -> Iterator[Draft | Missing]:
    """The exchanges of one session. Raises: Unreadable."""
    common, at = _common(record), time_of(record)
    known = set()
    for found in exchanges_of(read_turns(_turns_of(record) or [], models), common, at=at):
        if isinstance(found, Draft):
            known.add((found.values["prompt"], found.values["response"]))
        yield found
    for item in _list_of(record, EXERCISES) or ():
        pair = _read_exercise(item)
        if pair is not None and pair not in known:  # the others stand in the conversation
            turns = (Turn(role=Role.USER, text=pair[0]), Turn(role=Role.ASSISTANT, text=pair[1]))
            yield from exchanges_of(turns, common, at=time_of(item) or at)


def read_turns(turns: list[Any], models: Collection[str] = ()) -> Iterator[Turn]:
    """Turns with the roles of their speakers.

    Raises: Unreadable: None of them is known to be the model.
    """
    read = [line for turn in turns for line in _lines_of(turn, models)]
    known = MODELS | {name.lower() for name in models}
    if read and not any(role_of(line, known) is Role.ASSISTANT for line in read):
        names = sorted({line.speaker[:32] for line in read})[:8]
        raise Unreadable(
            f"none of its speakers is known to be the model ({', '.join(names)}); name it with "
            "--assistant"
        )
    for line in read:
        yield Turn(role=role_of(line, known), text=line.text, at=line.at)


def role_of(line: Line, models: Collection[str]) -> Role:
    """What a speaker is; `models` in lower case."""
    speaker = line.speaker.lower()
    if speaker in models or (line.kind or "").lower() in {"sage", "assistant"}:
        return Role.ASSISTANT
    if speaker in {"system", "developer"}:
        return Role.SYSTEM
    return Role.TOOL if speaker == "tool" else Role.USER


def _find_line(value: Mapping[str, Any]) -> Line | None:
    speaker = next((value[n] for n in SPEAKERS if isinstance(value.get(n), str)), None)
    text = next((value[n] for n in TEXTS if isinstance(value.get(n), str)), None)
    if speaker is None or text is None:
        return None
    kind = value.get("css_class")
    at = next((value[n] for n in ("timestamp", "ts", "time") if value.get(n) is not None), None)
    return Line(speaker=speaker, text=text, kind=kind if isinstance(kind, str) else None, at=at)


def _lines_of(turn: Any, models: Collection[str]) -> Iterator[Line]:
    if not isinstance(turn, dict):
        raise Unreadable("a turn is no object")
    if (line := _find_line(turn)) is not None:
        yield line
        return
    texts = _named_texts(turn, models)
    if not texts:
        raise Unreadable("a turn has no speaker or no text")
    for speaker, text in texts:
        yield Line(speaker=speaker, text=text, kind=None, at=time_of(turn))


def _named_texts(turn: Mapping[str, Any], models: Collection[str] = ()) -> list[tuple[str, str]]:
    """Who said what, where the speakers' names are the keys: the asking one, then the model."""
    known = MODELS | {name.lower() for name in models}
    asked = ("claude", "user", "human", "teacher", "tutor", "operator", "dennis", *QUESTIONS)
    said = [name for name in turn if isinstance(turn[name], str)]
    questions = [name for name in said if name.lower() in asked]
    answers = [n for n in said if n.lower() in known and n != "model"] or [
        name for name in said if name in ANSWERS
    ]
    if not questions or not answers:
        return []
    return [(questions[0], turn[questions[0]]), ("sage", turn[answers[0]])]


def _turns_of(record: Mapping[str, Any]) -> list[Any] | None:
    """The turns of a session, under one of the names that there are for them."""
    if (turns := _list_of(record, LISTS)) is not None:
        return turns
    turns = _list_of(record, (PLURAL,))
    # A question with its answer is a record by itself, and each may be of another conversation.
    is_turns = turns and all(isinstance(t, dict) and not set(QUESTIONS) & t.keys() for t in turns)
    return turns if is_turns else None


def _list_of(record: Mapping[str, Any], names: tuple[str, ...]) -> list[Any] | None:
    return next((record[name] for name in names if isinstance(record.get(name), list)), None)


def _read_exercise(item: Any) -> tuple[str, str] | None:
    """What was asked and said in an exercise, whose question may stand one level below."""
    if not isinstance(item, dict):
        return None
    answer = next((item[name] for name in ANSWERS if isinstance(item.get(name), str)), None)
    for name in QUESTIONS:
        asked = item.get(name)
        if isinstance(asked, dict):
            asked = asked.get("prompt", asked.get("question"))
        if isinstance(asked, str) and answer is not None:
            return asked, answer
    return None


def _common(record: Mapping[str, Any]) -> dict[str, Any]:
    common = common_of(record)
    metadata = {name: record[name][:256] for name in KINDS if isinstance(record.get(name), str)}
    if metadata:
        common["metadata"] = {**common.get("metadata", {}), **metadata}
    return common
