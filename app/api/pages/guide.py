"""/guide: the pages of `app/web/guide`, which are Markdown to read in the repository, too.

They are laid out when the first one is asked for, since the libraries cost memory that most
daemons never need. A page begins with its title and a paragraph that says what it is about.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from app.api.guards.access import GuardedRoute
from app.api.pages.web_files import WebFile, make_web_file, send_web_file

if TYPE_CHECKING:
    from markdown_it.token import Token

PAGES = (
    "api",
    "attach",
    "operate",
    "recipe",
    "models",
    "runtimes",
    "sharing",
    "glossary",
    "benchmarks",
    "by-hand",
)
"""In the order in which they are read."""

FEWEST_SECTIONS = 4
"""A page of fewer is seen whole without a list of them."""

INDEX = ""
STYLE = "guide.css"

router = APIRouter(tags=["operations"], route_class=GuardedRoute, include_in_schema=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    name: str
    title: str
    lead: Markup
    head: Markup
    body: Markup
    contents: Sequence[tuple[str, str]]


@router.get("/guide")
def get_guide(request: Request) -> Response:
    """The list of pages."""
    return send_web_file(request, _files(), INDEX)


@router.get("/guide/{name}")
def get_guide_page(name: str, request: Request) -> Response:
    """A page, or their style."""
    return send_web_file(request, _files(), name)


@cache
def _files() -> dict[str, WebFile]:
    """All that is served, by name."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  # see the module's docstring

    pages = [_lay_out(name) for name in PAGES]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_read("../guide.html"))
    files = {STYLE: make_web_file(_read(STYLE).encode(), ".css")}
    for page in (None, *pages):
        html = template.render(page=page, pages=pages)
        files[page.name if page else INDEX] = make_web_file(html.encode(), ".html")
    return files


def _read(name: str) -> str:
    return (resources.files("app.web") / "guide" / name).read_text(encoding="utf-8")


def _lay_out(name: str) -> _Page:
    """A page's Markdown as HTML; what stands in it as HTML is shown, never let through."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # see the module's docstring

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _render_block)
    markdown.add_render_rule("code_block", _render_block)
    tokens = markdown.parse(_read(f"{name}.md"))
    _name_headings(tokens)
    for token in tokens:
        _shorten_links(token.children or ())
    title, lead = (token for token in tokens[:5] if token.type == "inline")

    def render(part: Sequence[Token]) -> Markup:
        return Markup(markdown.renderer.render(part, markdown.options, {}))  # noqa: S704  # escaped by the library

    contents = tuple(_list_sections(tokens))
    first = next((at for at, token in enumerate(tokens) if token.tag == "h2"), len(tokens))
    return _Page(
        name=name,
        title=title.content,
        lead=render([lead]),
        head=render(tokens[:first]),
        body=render(tokens[first:]),
        contents=contents if len(contents) >= FEWEST_SECTIONS else (),
    )


def _list_sections(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """The id and the words of each section's heading."""
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2":
            words = "".join(part.content for part in text.children or ())
            yield str(heading.attrGet("id")), words


def _render_block(
    _renderer: object, tokens: Sequence[Token], index: int, _options: object, _env: object
) -> str:
    """A block of code, which the keyboard can reach to scroll it."""
    return str(Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(tokens[index].content))


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give headings the ids by which the repository's host links to them."""
    used = Counter[str]()
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", text.content.lower()).replace(" ", "-")
            heading.attrSet("id", f"{slug}-{used[slug]}" if used[slug] else slug)
            used[slug] += 1


def _shorten_links(tokens: Sequence[Token]) -> None:
    """Point links between files at the pages made of them."""
    for token in tokens:
        target = str(token.attrGet("href") or "")
        if token.type == "link_open" and "//" not in target:
            token.attrSet("href", re.sub(r"^([\w-]+)\.md(?=#|$)", r"/guide/\1", target))
