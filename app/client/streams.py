"""What comes as a stream: events, each with what it says, and a reply as it is written.

Both are server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.
Must not know where the bytes come from.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .cycles import CycleError, Progress
from .errors import AnswerNotUnderstood, DaemonUnavailable
from .request import Request
from .results import AnsweredBy
from .wire import Result, decode

EVENT_STREAM = "text/event-stream"
PROGRESS_EVENT = "sleep_cycle.progress"

_LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")
"""A carriage return at the very end may be half of a pair: the next piece tells."""

READ_TIMEOUT_SECONDS = 600.0
"""Until the next word: others may be served before, and a long conversation is read for minutes."""

END = "[DONE]"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSentEvent:
    """One event; `id` is the newest that the stream named, this event's or an earlier one's."""

    type: str
    data: str
    id: str


class EventParser:
    """Takes a stream in pieces of any size and gives the events that are complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self.last_id = ""
        """Where to resume: what the stream named last, be it without an event."""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes."""
        *lines, self._rest = _LINE_END.split(self._rest + self._decoder.decode(chunk))
        found = [self._take(line) for line in lines]
        return [event for event in found if event is not None]

    def _take(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, type_ = self._data, self._type or "message"
        self.last_id = self._id
        self._data, self._type = [], ""
        return ServerSentEvent(type=type_, data="\n".join(data), id=self._id) if data else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPiece:
    """A piece of a reply; the last one says how it ended and who answered."""

    text: str
    finish_reason: str | None = None
    sage: AnsweredBy | None = None


class PieceParser:
    """Takes a stream in chunks of any size and gives the pieces that are complete."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._is_whole = False

    def feed(self, chunk: bytes) -> Iterator[ChatPiece]:
        """Take the next bytes. Raises: DaemonUnavailable: The reply broke off."""
        for event in self._parser.feed(chunk):
            if event.data == END:
                self._is_whole = True
                continue
            data = json.loads(event.data)
            if "error" in data:
                raise DaemonUnavailable(
                    str(data["error"]["message"]), problem=data.get("sage") or {}
                )
            sage = decode(AnsweredBy, data["sage"]) if "sage" in data else None
            for choice in data["choices"]:
                yield ChatPiece(
                    text=choice["delta"].get("content") or "",
                    finish_reason=choice["finish_reason"],
                    sage=sage,
                )

    def end(self) -> None:
        """Look whether all of it came. Raises: DaemonUnavailable."""
        if not self._is_whole:
            raise DaemonUnavailable("The reply broke off: the daemon is gone, or is stopping.")


def chat_request(
    messages: Sequence[Mapping[str, Any]], model: str, wishes: Mapping[str, Any]
) -> Request:
    """The request for a reply; said twice it would be another, so it is not sent again."""
    return Request(
        "POST",
        "/v1/chat/completions",
        body={"model": model, "messages": [dict(message) for message in messages], **wishes},
        is_repeatable=False,
        read_timeout_seconds=READ_TIMEOUT_SECONDS,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleQueued(Result):
    """A cycle waits for its turn, with so many experiences to train on."""

    number: int
    trigger: str
    experiences: int
    mass: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleStarted(Result):
    """A worker took a cycle; `attempt` counts from 1."""

    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleWoken(Result):
    """Its instance is wanted: the cycle stops, and goes on once no exchange came for so long."""

    actor: str
    idle_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleRequeued(Result):
    """A cycle waits again; `exit_code` is its worker's, None where nobody saw it end."""

    exit_code: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleReplanned(Result):
    """A queued cycle goes on from `parent` now, since `from_checkpoint` cannot be read."""

    from_checkpoint: str | None = field(metadata={"wire": "from"})
    parent: str | None
    actor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleJudged(Result):
    """The gate has spoken on the checkpoint that a cycle published."""

    checkpoint_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEnded(Result):
    """A worker's process ended and left its cycle; `exit_code` is below zero for a signal."""

    exit_code: int
    attempt: int
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentMoved(Result):
    """What is live changed; None stands for the bare base model."""

    from_checkpoint: str | None = field(metadata={"wire": "from"})
    to_checkpoint: str | None = field(metadata={"wire": "to"})
    actor: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateMoved(Result):
    """A checkpoint waits for a person, or a person refused it."""

    actor: str
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointRegressed(Result):
    """Bad session reports took a checkpoint back; `report_id` is the last of them.

    Attributes:
        sessions: Those whose last report is bad, newest first.
        token_ids: The tokens that these reports came with; none where none was demanded.
    """

    bad_reports: int
    considered: int
    limit: int
    report_id: str
    sessions: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointDamaged(Result):
    """Files of a checkpoint are gone or altered; `aliases` named it."""

    code: str
    aliases: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointTainted(Result):
    """A checkpoint holds something that was erased."""

    experience_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointDeleted(Result):
    """A checkpoint's files were deleted; older events do not tell by whom."""

    actor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointMirrored(Result):
    """A copy lies in the mirror, whole; `remote` is the mirror's name and path."""

    remote: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointUnmirrored(Result):
    """The copy is gone from the mirror; `reason`: deleted here, or it learned what was erased."""

    remote: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperienceErased(Result):
    """An experience's text is gone; so many checkpoints learned from it, where it is told.

    Attributes:
        repeated: The experience that was to be erased, where this one only repeated it.
        taken_from: Experiences that quoted it and do no more.
    """

    experience_id: str
    checkpoints: int | None = None
    repeated: str | None = None
    taken_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TextsExpired(Result):
    """Texts went since the policy keeps them no longer, and the replies in so many reports."""

    experience_ids: tuple[str, ...]
    reports: int
    retain_text_days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperiencesSetAside(Result):
    """A cycle could not put these before its model; each has its reason with it."""

    experience_ids: tuple[str, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildRequested(Result):
    """Someone wants a new start from the base, in place of `from_checkpoint`."""

    actor: str
    reason: str | None
    from_checkpoint: str | None = field(metadata={"wire": "from"})


FACTS: Mapping[str, type[Result]] = {
    "experiences.set_aside": ExperiencesSetAside,
    "sleep_cycle.queued": CycleQueued,
    "sleep_cycle.started": CycleStarted,
    PROGRESS_EVENT: Progress,
    "sleep_cycle.woken": CycleWoken,
    "sleep_cycle.requeued": CycleRequeued,
    "sleep_cycle.replanned": CycleReplanned,
    "sleep_cycle.succeeded": CycleJudged,
    "sleep_cycle.rejected": CycleJudged,
    "sleep_cycle.failed": CycleError,
    "sleep_cycle.worker_stalled": WorkerEnded,
    "sleep_cycle.worker_killed": WorkerEnded,
    "sleep_cycle.worker_died": WorkerEnded,
    "sleep_cycle.disk_full": WorkerEnded,
    "checkpoint.promoted": CurrentMoved,
    "checkpoint.rolled_back": CurrentMoved,
    "checkpoint.proposed": CandidateMoved,
    "checkpoint.dismissed": CandidateMoved,
    "checkpoint.regressed": CheckpointRegressed,
    "checkpoint.damaged": CheckpointDamaged,
    "checkpoint.tainted": CheckpointTainted,
    "checkpoint.deleted": CheckpointDeleted,
    "checkpoint.mirrored": CheckpointMirrored,
    "checkpoint.unmirrored": CheckpointUnmirrored,
    "experience.erased": ExperienceErased,
    "experience.expired": TextsExpired,
    "instance.rebuild_requested": RebuildRequested,
}
"""What events of each type say; those of the other types say nothing more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event(Result):
    """One fact; `id` is what a stream resumes after.

    A stream tells of a running cycle's progress oftener than the log keeps it: then `id` is that of
    the event before it.

    Attributes:
        data: What it says, typed by `type` as in `FACTS`; of a type that this client does not know,
            or in a shape that it does not, a plain `Result`: then `data.raw` has it.
    """

    id: int
    type: str
    at: datetime
    sleep_cycle_id: str | None
    checkpoint_id: str | None
    data: Result

    def __post_init__(self) -> None:
        kind = FACTS.get(self.type)
        if kind is not None and type(self.data) is Result:
            with contextlib.suppress(AnswerNotUnderstood):
                object.__setattr__(self, "data", decode(kind, self.data.raw))
