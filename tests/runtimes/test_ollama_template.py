"""A translated template writes what the base's own does, in every conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ChatTemplateMissing, TemplateNotTranslatable
from app.runtimes.chat_form import ChatForm, read_chat_form
from app.runtimes.ollama_template import _Renderer, translate
from tests.conftest import SHARED_DATA
from tests.runtimes.go_templates import render

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}"
    "{% endif %}" + CHATML
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}{{ '[INST] ' + (s if loop.first else '') + "
    "m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' "
    "+ ('model' if m.role == 'assistant' else 'user') + '\n' + m.content | trim "
    "+ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
THINKS = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "</s>")
CONVERSATIONS = (
    ("", ("Hi.",)),
    ("You are SAGE.", ("Hi.",)),
    ("You are SAGE.", ("Hi.", "Hello {{ you }}.", "And?")),
    ("", ("1", "2", "3", "4", "5")),
)


def form(template: str) -> ChatForm:
    return ChatForm(template=template, variables=TOKENS, special_tokens=SPECIAL)


def by_jinja(found: ChatForm, system: str, turns: tuple[str, ...]) -> str:
    roles = ["user" if n % 2 == 0 else "assistant" for n in range(len(turns))]
    contents = [system, *turns] if system else list(turns)
    parts = _Renderer(found)(*(["system"] if system else []), *roles)
    text = parts[0] + "".join(c + p for c, p in zip(contents, parts[1:], strict=True))
    return text.removeprefix(found.variables.get("bos_token", ""))


def by_go(found: ChatForm, system: str, turns: tuple[str, ...]) -> str:
    roles = ["user" if n % 2 == 0 else "assistant" for n in range(len(turns))]
    return render(translate(found).template, system, list(zip(roles, turns, strict=True)))


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize(
    "template", [CHATML, DEFAULT_SYSTEM, LLAMA_3, MISTRAL, THINKS],
    ids=["chatml", "default system", "llama 3", "mistral", "thinks"],
)  # fmt: skip
def test_translated_template_writes_the_same(
    template: str, conversation: tuple[str, tuple[str, ...]]
) -> None:
    assert by_go(form(template), *conversation) == by_jinja(form(template), *conversation)


def test_template_without_a_system_turn_has_it_before_the_first_text() -> None:
    said = by_go(form(GEMMA), "You are SAGE.", ("Hi.",))
    merged = by_jinja(form(GEMMA), "", ("You are SAGE.\n\nHi.",))
    assert said == merged


@pytest.mark.parametrize(
    ("template", "stops"),
    [
        (CHATML, ("<|im_end|>", "<|im_start|>", "</s>")),
        (LLAMA_3, ("<|eot_id|>", "</s>")),
        (GEMMA, ("<end_of_turn>", "<start_of_turn>", "</s>")),
        (MISTRAL, ("</s>",)),
    ],
)
def test_reply_stops_where_its_turn_ends(template: str, stops: tuple[str, ...]) -> None:
    assert translate(form(template)).stops == stops


def test_braces_of_a_template_stay_text() -> None:
    found = form("{% for m in messages %}{{ '{' ~ '{' }}{{ m.role }}: {{ m.content }};{% endfor %}")
    assert by_go(found, "S", ("a", "b", "c")) == "{{system: S;{{user: a;{{assistant: b;{{user: c;"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }} {{ m.content }}\n{% endfor %}",  # counts turns
        "{{ messages[-1].content }}",  # drops turns
        "{{ raise_exception('not today') }}",
        "{% for m in %}",
        "{{ ''.__class__.__mro__ }}{% for m in messages %}{{ m.content }}{% endfor %}",
    ],
)
def test_template_that_cannot_be_translated_is_refused(template: str) -> None:
    with pytest.raises(TemplateNotTranslatable):
        translate(form(template))


def test_base_tells_its_template_and_tokens(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateMissing):
        read_chat_form(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", '
        '"template": "yes"}], "eos_token": {"content": "<|im_end|>"}, "bos_token": null}'
    )
    (tmp_path / "tokenizer.json").write_text(
        '{"added_tokens": [{"content": "<|im_end|>", "special": true}, {"content": "w"}]}'
    )
    found = read_chat_form(tmp_path)
    assert found.template == "yes"
    assert found.variables == {"eos_token": "<|im_end|>"}
    assert found.special_tokens == ("<|im_end|>",)
    (tmp_path / "chat_template.jinja").write_text("newer")
    assert read_chat_form(tmp_path).template == "newer"


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_real_template_of_qwen(conversation: tuple[str, tuple[str, ...]]) -> None:
    directory = SHARED_DATA / "qwen2.5-tokenizer"
    if not directory.is_dir():
        pytest.skip("the shared data is not here")
    found = read_chat_form(directory)
    assert by_go(found, *conversation) == by_jinja(found, *conversation)
    assert translate(found).stops[:2] == ("<|im_end|>", "<|im_start|>")
