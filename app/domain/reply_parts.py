"""What of a reply was said to someone: without the model's reasoning and tool-call markup.

A thinking model writes its reasoning into the reply, between a pair of tags that its family has;
tool calls stand between other pairs. Neither is prose: it is stored with the reply, salience and
the collapse filter judge what is left, and whether reasoning is learned is a matter of policy. A
tag between quotation marks or in a piece of code is talk about it.

Pure: knows no tokenizer; what a tokenizer's own template makes of reasoning is in `training`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import lru_cache

REASONING_TAGS = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen3, SmolLM3, GLM, Nemotron, Hunyuan
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
)
"""The opening and closing tags of reasoning, by the families known to write them."""

TOOL_TAGS = (
    ("<tool_call>", "</tool_call>"),  # Qwen, Hermes, SmolLM3, GLM
    ("<tool_calls>", "</tool_calls>"),
    ("<tool_response>", "</tool_response>"),
    ("<function_call>", "</function_call>"),
    ("<function=", "</function>"),  # Llama 3's and Qwen3-Coder's
    ("<functioncall>", "</functioncall>"),
    ("<|tool_call|>", "<|/tool_call|>"),  # Phi-4 mini
    ("<|tool_call_start|>", "<|tool_call_end|>"),  # LFM2
    ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),  # Kimi K2
    ("<|action_start|>", "<|action_end|>"),  # InternLM
    ("<|START_ACTION|>", "<|END_ACTION|>"),  # Command A
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),  # DeepSeek V3
    ("<minimax:tool_call>", "</minimax:tool_call>"),
    ("[TOOL_CALLS]", None),  # Mistral: to the reply's end
    ("<|python_tag|>", None),  # Llama 3.1
)
"""Of tool calls and their results; those without a closing tag reach to the reply's end."""

CONTROL_TOKEN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>"  # <|im_end|>, <|eot_id|>, <|endoftext|>
    r"|<｜[^｜<>]{1,40}｜>"  # DeepSeek's
    r"|</?s>|<(?:bos|eos|pad|unk|mask)>|<(?:start|end)_of_(?:turn|image)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\]|<</?SYS>>"
)
"""What control tokens of chat templates look like; each family's own are known in training."""

_KINDS: dict[str, tuple[bool, str | None]] = {
    opening.lower(): (is_reasoning, closing and closing.lower())
    for is_reasoning, tags in ((True, REASONING_TAGS), (False, TOOL_TAGS))
    for opening, closing in tags
}
_CLOSINGS_OF_REASONING = frozenset(
    closing.lower() for _, closing in REASONING_TAGS if closing != "<|end|>"
)
_TAG = re.compile(
    "|".join(
        re.escape(tag)
        for tag in sorted(
            {*_KINDS, *(closing for _, closing in _KINDS.values() if closing)},
            key=len,
            reverse=True,
        )
    ),
    re.IGNORECASE,
)
_HARMONY_HEAD = re.compile(r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final\s*<\|message\|>")
_ROLES = frozenset({"system", "user", "assistant", "model", "tool"})
_NEVER = "\0"
"""Closes what reaches to the reply's end: no tag is that."""

_QUOTES = frozenset("`\"'“”‘’«»„‚「」『』")


class Thinking(StrEnum):
    """What of a thinking model's reply is learned: the answer alone, or its reasoning, too."""

    STRIP = "strip"
    KEEP = "keep"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyParts:
    """A reply taken apart.

    Attributes:
        said: What is left without reasoning and tool-call markup; the reply itself, character by
            character, where it holds neither.
        reasoning: What stood between tags of reasoning, or before a lone closing one, as families
            write it whose prompt opens the block; empty for none.
        opening, closing: The tags that the reasoning stood between.
        is_unfinished: A block of reasoning was opened and never closed.
    """

    said: str
    reasoning: str = ""
    opening: str = ""
    closing: str = ""
    is_unfinished: bool = False


@lru_cache(maxsize=64)
def part_reply(text: str) -> ReplyParts:
    """Take a reply apart, in time linear in its length; the last 64 are kept."""
    if _TAG.search(text) is None and "<|channel|>" not in text:
        return ReplyParts(said=text)
    said: list[str] = []
    reasoning: list[str] = []
    tags = ("", "")
    is_unfinished = False
    for block in _blocks(text):
        if block.kind is _Kind.SAID:
            said.append(block.text)
            continue
        if block.kind is _Kind.TOOLS or (block.kind is _Kind.BEFORE_A_CLOSING and reasoning):
            continue
        if block.kind is _Kind.BEFORE_A_CLOSING:
            reasoning, said = said, []
        reasoning.append(block.text)
        tags = tags if tags[0] else _tags_of(block.tag)
        is_unfinished |= not block.is_closed
    return ReplyParts(
        said=_join(said),
        reasoning="\n".join(part.strip() for part in reasoning if part.strip()),
        opening=tags[0],
        closing=tags[1],
        is_unfinished=is_unfinished,
    )


def said_in(response: str) -> str:
    """What of a reply was said."""
    return part_reply(response).said


def is_all_control_tokens(text: str) -> bool:
    """Whether a text holds control tokens of some chat template, names of roles, and no more."""
    rest = CONTROL_TOKEN.sub(" ", text)
    return rest != text and _ROLES.issuperset(rest.split())


class _Kind(Enum):
    SAID = auto()
    REASONING = auto()
    BEFORE_A_CLOSING = auto()
    TOOLS = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """A stretch of a reply; of reasoning with a tag of its pair, as it was written."""

    kind: _Kind
    text: str
    tag: str = ""
    is_closed: bool = True


def _blocks(text: str) -> Iterator[_Block]:
    """What stands between, before and after tags, in order."""
    kind, opening, closing, position = _Kind.SAID, "", "", 0
    code = _Code(text)
    for match in _TAG.finditer(text):
        tag = match[0].lower()
        is_lone = not closing and tag in _CLOSINGS_OF_REASONING
        is_meant = tag == closing if closing else tag in _KINDS or is_lone
        if not is_meant or _is_quoted(text, match, code):
            continue
        stretch = text[position : match.start()]
        position = match.end()
        if is_lone:
            yield _Block(kind=_Kind.BEFORE_A_CLOSING, text=stretch, tag=match[0])
            continue
        yield _Block(kind=kind, text=stretch, tag=opening)
        if closing:
            kind, opening, closing = _Kind.SAID, "", ""
            continue
        is_reasoning, ending = _KINDS[tag]
        kind = _Kind.REASONING if is_reasoning else _Kind.TOOLS
        opening, closing = match[0], ending or _NEVER
    yield _Block(kind=kind, text=text[position:], tag=opening, is_closed=not closing)


class _Code:
    """Where a text's fenced pieces of code are, found out when first asked for."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._fences = 0

    def holds(self, position: int) -> bool:
        """Whether a position lies within a fence; positions are asked for in order."""
        self._fences += self._text.count("```", self._position, position)
        self._position = position
        return self._fences % 2 == 1


def _is_quoted(text: str, match: re.Match[str], code: _Code) -> bool:
    start, end = match.span()
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return (before in _QUOTES and after in _QUOTES) or code.holds(start)


def _tags_of(tag: str) -> tuple[str, str]:
    """The pair that a tag of reasoning belongs to."""
    return next(pair for pair in REASONING_TAGS if tag.lower() in map(str.lower, pair))


def _join(pieces: list[str]) -> str:
    """What stood around something that was taken out, with one gap where it was."""
    joined: list[str] = []
    space = ""
    for piece in pieces:
        text = _HARMONY_HEAD.sub("", piece)
        said = text.strip()
        if not said:
            continue
        if joined:
            space += text[: len(text) - len(text.lstrip())]
            joined.append("\n\n" if "\n" in space else " ")
        joined.append(said)
        space = text[len(text.rstrip()) :]
    return "".join(joined)
