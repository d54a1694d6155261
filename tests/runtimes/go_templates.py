"""The part of Go's text/template that translated chat templates use, to render them with.

Actions: `{{ if }}`, `{{ else if }}`, `{{ else }}`, `{{ end }}`, `{{ range $i, $_ := .Messages }}`,
`.System`, `.Content`, a quoted text, and the conditions that stand in `_holds`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_ACTION = re.compile(r"\{\{ (.*?) \}\}", re.DOTALL)

Node = Any


def render(template: str, system: str, messages: Sequence[tuple[str, str]]) -> str:
    """What Ollama makes of a conversation, its system prompt apart."""
    pieces = iter(_ACTION.split(template))
    tree, end = _parse(pieces, next(pieces))
    assert end is None
    data = {"System": system, "Messages": messages}
    return "".join(_run(tree, data, None))


def _parse(pieces: Iterator[str], text: str) -> tuple[list[Node], str | None]:
    nodes: list[Node] = [text]
    for action in pieces:
        following = next(pieces)
        word, _, rest = action.partition(" ")
        if word in {"end", "else"}:
            nodes.append(("rest", following))
            return nodes, action
        if word == "range":
            assert rest == "$i, $_ := .Messages"
            body, end = _parse(pieces, following)
            assert end == "end"
            nodes += [("range", body[:-1]), body[-1][1]]
        elif word == "if":
            node, after = _parse_if(pieces, rest, following)
            nodes += [node, after]
        else:
            nodes += [("value", action), following]
    return nodes, None


def _parse_if(pieces: Iterator[str], condition: str, text: str) -> tuple[Node, str]:
    branches = []
    while True:
        body, end = _parse(pieces, text)
        branches.append((condition, body[:-1]))
        text = body[-1][1]
        if end == "end":
            return ("if", branches), text
        assert end is not None
        condition = end.removeprefix("else").strip().removeprefix("if ").strip() or "true"


def _run(nodes: Sequence[Node], data: dict[str, Any], index: int | None) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif node[0] == "range":
            for i in range(len(data["Messages"])):
                yield from _run(node[1], data, i)
        elif node[0] == "if":
            for condition, body in node[1]:
                if _holds(condition, data, index):
                    yield from _run(body, data, index)
                    break
        elif node[1] == ".System":
            yield data["System"]
        elif node[1] == ".Content":
            assert index is not None
            yield data["Messages"][index][1]
        else:
            yield json.loads(node[1])


def _holds(condition: str, data: dict[str, Any], index: int | None) -> bool:
    if condition == "true":
        return True
    if condition == ".System":
        return bool(data["System"])
    assert index is not None
    if condition == "eq (len (slice $.Messages $i)) 1":
        return index == len(data["Messages"]) - 1
    found = re.fullmatch(r'eq \.Role "(\w+)"', condition)
    assert found, condition
    return bool(data["Messages"][index][0] == found[1])
