"""README and the guide's pages, cut into what a reader would type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = {
    path.name: path.read_text()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "app/web/guide").glob("*.md")))
}
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block."""

    document: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        lines = (line.partition("  #")[0].strip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def list_blocks() -> list[Block]:
    """Every fenced block of every document."""
    return [
        Block(document=name, language=token.info, text=token.content)
        for name, text in DOCUMENTS.items()
        for token in _MARKDOWN.parse(text)
        if token.type == "fence"
    ]


def list_inline_code() -> list[tuple[str, str]]:
    """Document and text of everything that stands between backticks."""
    return [
        (name, " ".join(token.content.split()))
        for name, text in DOCUMENTS.items()
        for token in _flatten(_MARKDOWN.parse(text))
        if token.type == "code_inline"
    ]


def _flatten(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()
