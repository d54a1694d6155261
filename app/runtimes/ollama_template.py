"""A base's chat template in the language of Ollama's, found out by rendering it.

Ollama guesses a template from a GGUF file by comparing it with some that it knows, and took the
wrong one. A chat template is a program in Jinja, Ollama's one in Go's text/template, and no rule
turns one into the other. What is needed is less: what stands before, between and after the texts of
a conversation. So a conversation of marks is rendered, the text between the marks is cut out, and
other conversations check that it is the same wherever it should be. A template that treats equal
turns differently is refused. Must not know Ollama's routes.

https://github.com/ollama/ollama/blob/main/docs/template.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.errors import TemplateNotTranslatable
from app.runtimes.chat_form import ChatForm

_MARK = "Zq{:05}qZ"
_TURNS = ("user", "assistant", "user", "assistant", "user")
_GAP = "\n\n"
"""Between two texts of one turn, as in training (`app.training.template`)."""

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class OllamaTemplate:
    """A template in Go's language, and the texts at which a reply ends."""

    template: str
    stops: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """What stands around the texts of a conversation."""

    with_system: tuple[str, str]
    without_system: str
    after_user: str
    after_assistant: str
    last: str


def translate(form: ChatForm) -> OllamaTemplate:
    """Translate a chat template. Raises: TemplateNotTranslatable."""
    parts = _find_parts(form)
    bos = form.variables.get("bos_token", "")
    start, end_of_system = parts.with_system
    # llama.cpp puts it there by itself.
    start, alone = start.removeprefix(bos), parts.without_system.removeprefix(bos)
    last = "{{ if eq (len (slice $.Messages $i)) 1 }}"
    user = (
        _literal(parts.after_user)
        if parts.last == parts.after_user
        else f"{last}{_literal(parts.last)}{{{{ else }}}}{_literal(parts.after_user)}{{{{ end }}}}"
    )
    return OllamaTemplate(
        template=(
            f"{{{{ if .System }}}}{_literal(start)}{{{{ .System }}}}{_literal(end_of_system)}"
            f"{{{{ else }}}}{_literal(alone)}{{{{ end }}}}"
            "{{ range $i, $_ := .Messages }}"
            f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{user}'
            '{{ else if eq .Role "assistant" }}{{ .Content }}'
            f"{last}{{{{ else }}}}{_literal(parts.after_assistant)}{{{{ end }}}}"
            "{{ end }}{{ end }}"
        ),
        stops=_find_stops(form, parts),
    )


def _find_stops(form: ChatForm, parts: _Parts) -> tuple[str, ...]:
    """Special tokens that stand around texts, the one that ends a reply first."""
    ends = sorted(
        (token for token in form.special_tokens if token in parts.after_assistant),
        key=parts.after_assistant.index,
    )
    others = [token for token in form.special_tokens if token in parts.after_user]
    eos = form.variables.get("eos_token", "")
    return tuple(dict.fromkeys(token for token in (*ends, eos, *others) if token))


def _find_parts(form: ChatForm) -> _Parts:
    render = _Renderer(form)
    alone, *short = render("user", "assistant", "user")
    (alone_at_once, last) = render("user")
    try:
        system, end_of_system, *long = render("system", *_TURNS)
    except TemplateNotTranslatable:  # there is none: it stands before the first user's text then
        system, end_of_system, (_, *long) = alone, _GAP, render(*_TURNS)
    after_user, after_assistant, user_again, assistant_again, long_last = long
    same = (
        (after_user, user_again, short[0]),
        (after_assistant, assistant_again, short[1]),
        (last, long_last, short[2]),
        (alone, alone_at_once),
    )
    if any(len(set(each)) > 1 for each in same):
        raise TemplateNotTranslatable(
            "The base's chat template does not write equal turns alike, so that it has no form in "
            "Ollama's language; give the model one of its own (`template` of a Modelfile)."
        )
    return _Parts(
        with_system=(system, end_of_system),
        without_system=alone,
        after_user=after_user,
        after_assistant=after_assistant,
        last=last,
    )


class _Renderer:
    """Renders conversations of marks, and returns what stands around them."""

    def __init__(self, form: ChatForm) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _NOW.strftime
        environment.add_extension("jinja2.ext.loopcontrols")
        self._variables = form.variables
        try:
            self._template = environment.from_string(form.template)
        except TemplateError as error:
            raise TemplateNotTranslatable(
                f"The base's chat template cannot be read: {error}"
            ) from error

    def __call__(self, *roles: str) -> Sequence[str]:
        """The text before, between and after the contents, the assistant's turn opened."""
        marks = [_MARK.format(number) for number in range(len(roles))]
        messages = [
            {"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)
        ]
        try:
            text = self._template.render(
                messages=messages, add_generation_prompt=True, **self._variables
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise TemplateNotTranslatable(
                f"The base's chat template refuses {', '.join(roles)}: {error}"
            ) from error
        parts = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found:
                raise TemplateNotTranslatable(
                    f"The base's chat template leaves out a turn of {', '.join(roles)}."
                )
            parts.append(before)
        return [*parts, text]


def _literal(text: str) -> str:
    """Text as Go's templates have it."""
    return text.replace("{{", '{{ "{{" }}')


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))
