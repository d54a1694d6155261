"""What a base's directory says of its chat template, without the library that renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ChatTemplateMissing

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatForm:
    """What a base's files say of how it is talked to.

    Attributes:
        template: In Jinja.
        variables: What the template may use beside messages: `bos_token`, `eos_token` and the like.
        special_tokens: Texts of tokens that no reply holds.
    """

    template: str
    variables: Mapping[str, str]
    special_tokens: tuple[str, ...]


def read_chat_form(base: Path) -> ChatForm:
    """Read a base's chat template and its special tokens.

    Raises: ChatTemplateMissing.
    """
    config = _read_json(base / "tokenizer_config.json")
    named = {**_read_json(base / "special_tokens_map.json"), **config}
    variables = {name: text for name in _NAMED if (text := _text_of(named.get(name))) is not None}
    return ChatForm(
        template=_template_of(base, config),
        variables=variables,
        special_tokens=read_special_tokens(base),
    )


def read_special_tokens(base: Path) -> tuple[str, ...]:
    """The texts of a base's control tokens; none where its files name none."""
    added = [
        *_read_json(base / "tokenizer.json").get("added_tokens", []),
        *_read_json(base / "tokenizer_config.json").get("added_tokens_decoder", {}).values(),
    ]
    return tuple(
        dict.fromkeys(
            one["content"] for one in added if isinstance(one, dict) and one.get("special")
        )
    )


def _template_of(base: Path, config: Mapping[str, Any]) -> str:
    """The default one, wherever it stands: newer bases have it in a file of its own."""
    if (file := base / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    told = config.get("chat_template")
    if isinstance(told, list):
        told = next(
            (one.get("template") for one in told if one.get("name") == "default"),
            told[0].get("template") if told else None,
        )
    if not isinstance(told, str):
        raise ChatTemplateMissing(f"The base {base.name} has no chat template.")
    return told


def _text_of(token: Any) -> str | None:
    """A token is written as its text, or as an object that holds it."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
