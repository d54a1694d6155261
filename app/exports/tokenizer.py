"""Says in GGUF what a byte-level BPE tokenizer is, by its `tokenizer.json`.

llama.cpp has the rule by which a text is first cut into pieces in its own code, under names; it is
recognised here by what `tokenizer.json` says. Another kind of tokenizer is refused. Must not know
models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from app.errors import BaseNotExportable

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_CUTS: Mapping[str, str] = {
    rf"{_LETTERS}\p{{N}}{_REST}": "qwen2",
    rf"{_LETTERS}\p{{N}}{{1,3}}{_REST}": "llama-bpe",
}
"""llama.cpp's names of rules that are one expression."""


def describe_tokenizer(writer: gguf.GGUFWriter, base: Path, *, rows: int) -> None:
    """Write what llama.cpp needs of a tokenizer.

    Args:
        rows: Of the embeddings; what the tokenizer has no token for is marked as unused.

    Raises: BaseNotExportable: It is of no kind that is known here.
    """
    found = _read(base)
    tokens, types = _tokens(found, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut(found))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(base, load_merges=True, n_vocab=rows)
    special.add_special_token.setdefault("bos", False)  # where it is not said, llama.cpp adds one
    special.add_to_gguf(writer, quiet=True)


def _read(base: Path) -> dict[str, Any]:
    try:
        found = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
        model = found["model"]
        is_known = model["type"] == "BPE" and not model.get("byte_fallback")
    except FileNotFoundError as error:
        raise BaseNotExportable("The base holds no tokenizer.json") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseNotExportable(f"The base's tokenizer.json cannot be read: {error}") from error
    if not is_known:
        raise BaseNotExportable("The base's tokenizer is no byte-level BPE")
    return dict(found)


def _cut(found: Mapping[str, Any]) -> str:
    """llama.cpp's name for how a text is cut into pieces before any merge."""
    steps = found.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        expression = steps[0].get("pattern", {}).get("Regex")
        if (name := _CUTS.get(expression)) is not None:
            return name
    raise BaseNotExportable("How the base's tokenizer cuts a text is not known here")


def _tokens(found: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    by_id = {number: token for token, number in found["model"]["vocab"].items()}
    types = dict.fromkeys(by_id, gguf.TokenType.NORMAL)
    for added in found.get("added_tokens", ()):
        by_id[added["id"]] = added["content"]
        types[added["id"]] = (
            gguf.TokenType.CONTROL if added.get("special") else gguf.TokenType.USER_DEFINED
        )
    if by_id and max(by_id) >= rows:
        raise BaseNotExportable(
            f"The base's tokenizer has {max(by_id) + 1} tokens, and its embeddings {rows} rows"
        )
    numbers = range(rows)
    return (
        [by_id.get(number, f"[PAD{number}]") for number in numbers],
        [int(types.get(number, gguf.TokenType.UNUSED)) for number in numbers],
    )
