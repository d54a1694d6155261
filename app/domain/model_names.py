"""What runtimes call their models, and the base that each is: Ollama's tags, older names, hub ids.

A base has the very weights that spoke, since an adapter fits no others. So a name stands here only
where it means one model and nothing else; a fine-tune of a model is another one, and a tag that was
pointed to new weights over time is left out. What is not known waits until somebody names its base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

MAX_NAMES = 1000
MAX_NAME_CHARACTERS = 256

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
"""`owner/name`."""


def _sizes(family: str, hub_id: str, sizes: Mapping[str, str], default: str) -> dict[str, str]:
    """The tags of a family; without a tag Ollama means one of them."""
    tags = {f"{family}:{tag}": hub_id.format(size) for tag, size in sizes.items()}
    return {**tags, family: tags[f"{family}:{default}"]}


def _same(*tags: str) -> dict[str, str]:
    return {tag: tag.upper() for tag in tags}


SHIPPED: Mapping[str, str] = MappingProxyType(
    {
        **_sizes(
            "smollm2", "HuggingFaceTB/SmolLM2-{}-Instruct", _same("135m", "360m", "1.7b"), "1.7b"
        ),
        **_sizes("smollm", "HuggingFaceTB/SmolLM-{}-Instruct", _same("135m", "360m"), "360m"),
        **_sizes(
            "qwen2.5",
            "Qwen/Qwen2.5-{}-Instruct",
            _same("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"),
            "7b",
        ),
        **_sizes(
            "qwen2.5-coder",
            "Qwen/Qwen2.5-Coder-{}-Instruct",
            _same("0.5b", "1.5b", "3b", "7b", "14b", "32b"),
            "7b",
        ),
        **_sizes("qwen2", "Qwen/Qwen2-{}-Instruct", _same("0.5b", "1.5b", "7b", "72b"), "7b"),
        **_sizes("qwen3", "Qwen/Qwen3-{}", _same("0.6b", "1.7b", "8b", "14b", "32b"), "8b"),
        **_sizes("qwen3.5", "Qwen/Qwen3.5-{}", _same("0.8b", "2b", "4b", "9b"), "9b"),
        **_sizes("llama3.2", "meta-llama/Llama-3.2-{}-Instruct", _same("1b", "3b"), "3b"),
        **_sizes("llama3.1", "meta-llama/Llama-3.1-{}-Instruct", _same("8b", "70b", "405b"), "8b"),
        **_sizes("llama3.3", "meta-llama/Llama-3.3-{}-Instruct", _same("70b"), "70b"),
        **_sizes("llama3", "meta-llama/Meta-Llama-3-{}-Instruct", _same("8b", "70b"), "8b"),
        **_sizes("llama2", "meta-llama/Llama-2-{}-chat-hf", {"7b": "7b", "13b": "13b"}, "7b"),
        **_sizes("tinyllama", "TinyLlama/TinyLlama-{}-Chat-v1.0", _same("1.1b"), "1.1b"),
        **_sizes("phi4", "microsoft/phi-4", {"14b": ""}, "14b"),
        **_sizes("phi4-mini", "microsoft/Phi-4-mini-instruct", {"3.8b": ""}, "3.8b"),
        **_sizes("phi3.5", "microsoft/Phi-3.5-mini-instruct", {"3.8b": ""}, "3.8b"),
        **_sizes(
            "gemma3",
            "google/gemma-3-{}-it",
            {size: size for size in ("270m", "1b", "4b", "12b", "27b")},
            "4b",
        ),
        **_sizes("gemma3n", "google/gemma-3n-{}-it", _same("e2b", "e4b"), "e4b"),
        **_sizes("gemma2", "google/gemma-2-{}-it", {s: s for s in ("2b", "9b", "27b")}, "9b"),
        **_sizes("gemma4", "google/gemma-4-{}-it", _same("e2b", "e4b", "12b"), "e4b"),
        **_sizes("mistral", "mistralai/Mistral-7B-Instruct-v0.3", {"7b": ""}, "7b"),
        **_sizes("mistral-nemo", "mistralai/Mistral-Nemo-Instruct-2407", {"12b": ""}, "12b"),
        **_sizes(
            "granite3.3", "ibm-granite/granite-3.3-{}-instruct", {s: s for s in ("2b", "8b")}, "8b"
        ),
        **_sizes("falcon3", "tiiuae/Falcon3-{}-Instruct", _same("1b", "3b", "7b", "10b"), "7b"),
        **_sizes("olmo2", "allenai/OLMo-2-1124-{}-Instruct", _same("7b", "13b"), "7b"),
        **{
            f"deepseek-r1:{size}": f"deepseek-ai/DeepSeek-R1-Distill-{of}-{size.upper()}"
            for of, sizes in (("Qwen", ("1.5b", "7b", "14b", "32b")), ("Llama", ("70b",)))
            for size in sizes
        },
    }
)
"""Ollama's tags as its library has them, each with the hub's model of the same weights."""

RUNTIMES = ("ollama", "llamacpp", "llama.cpp", "vllm", "hf", "huggingface", "transformers")
"""Said before a model's name by those who run it; no part of the name."""

_PREFIXES = re.compile(
    rf"^(?:(?:{'|'.join(map(re.escape, RUNTIMES))}):|ollama(?:_chat)?/"
    r"|registry\.ollama\.ai/|library/)"
)
_QUANTISATION = re.compile(r"-(?:i?q\d\w*|fp16|f16|bf16|fp32|f32)$")
_TUNED = re.compile(r"-(?:instruct|it|chat)$")
"""What the default of each family above is, whether or not its tag says so."""

_HUB_FILE = re.compile(r"^(?:hf\.co|huggingface\.co)/[^/:]+/([^/:]+?)(?:-gguf)?(?::[^/]*)?$")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTable:
    """Names of models with their bases: the operator's own, and those that are shipped.

    Attributes:
        own: Names and bases as the operator wrote them; they win.
    """

    own: tuple[tuple[str, str], ...] = ()

    def find(self, name: str) -> str | None:
        """The base of a model, hub id or directory; None where it is not known."""
        return _find(self.own, name)

    def rows(self) -> list[tuple[str, str, bool]]:
        """Every name with its base, and whether it is the operator's own; by name."""
        own = {forms_of(name)[0] for name, _ in self.own}
        shipped = [(n, b, False) for n, b in SHIPPED.items() if forms_of(n)[0] not in own]
        return sorted([*((n, b, True) for n, b in self.own), *shipped])


@lru_cache(maxsize=4096)
def _find(own: tuple[tuple[str, str], ...], name: str) -> str | None:
    forms = forms_of(name)
    for table in (own, tuple(SHIPPED.items())):
        by_form = {forms_of(known)[0]: base for known, base in table}
        if found := next((by_form[form] for form in forms if form in by_form), None):
            return found
    # By the base's own name, whoever made the file that was loaded of it.
    hub_file = _HUB_FILE.match(name.strip().lower())
    wanted = _slug(hub_file.group(1)) if hub_file else forms[0]
    bases = {*dict(own).values(), *SHIPPED.values()}
    named = [base for base in bases if wanted in {_slug(base), _slug(base_tail(base))}]
    if len(named) == 1:
        return named[0]
    return name if HUB_ID.fullmatch(name) else None


def forms_of(name: str) -> list[str]:
    """The forms in which a model's name is looked for, as written first.

    `ollama:qwen2.5:0.5b-instruct-q4_K_M` is looked for so, without its quantisation, and without
    what its family's default is anyway; `qwen2.5-0.5b` is `qwen2.5:0.5b`, as slugs have it.
    """
    plain = name.strip().lower()
    if plain.startswith(("/", "~", ".")):  # a directory of the runtime's machine, by its last part
        plain = base_tail(plain)
    while (shorter := _PREFIXES.sub("", plain)) != plain:
        plain = shorter
    plain = plain.removesuffix(":latest").removesuffix("-latest")
    unquantised = plain
    while (shorter := _QUANTISATION.sub("", unquantised)) != unquantised:
        unquantised = shorter
    untuned = _TUNED.sub("", unquantised)
    return list(dict.fromkeys(_slug(form) for form in (plain, unquantised, untuned)))


def base_tail(base: str) -> str:
    """A base's name without its owner or its directory."""
    return base.rstrip("/").rpartition("/")[2]


def is_same_base(one: str, other: str) -> bool:
    """Whether two bases are one model by name, such as a hub id and a directory of it."""
    return base_tail(one).lower() == base_tail(other).lower()


def slugs_of(machine: str, model: str) -> frozenset[str]:
    """The names that session scripts give to the instance of a machine and a model.

    Newer ones leave out the runtime that stands before a model's name.
    """
    runtime, _, rest = model.partition(":")
    names = {model, rest} if rest and runtime.lower() in RUNTIMES else {model}
    slugs = (f"{machine}-{name.rpartition('/')[2]}".lower() for name in names)
    return frozenset(re.sub(r"[^a-z0-9._-]+", "-", slug)[:64].strip("-._") for slug in slugs)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
