"""Bring a base model and its tokenizer into memory.

Must not know adapters or training data. Foreign loading errors are translated here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from app.artifacts.bases import find_base_model
from app.errors import (
    BaseModelNotFound,
    BaseModelUnsupported,
    ChatTemplateMissing,
    DeviceUnavailable,
)
from app.training.causality import demand_causal
from app.training.logits import is_plain
from app.training.quantized import choose_holding, keep_layout, loading_options

FOREIGN = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError,
    SafetensorError,
)  # fmt: skip
"""What loaders raise: of files, of configurations, of packages that they miss, of a device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A frozen base in memory.

    Attributes:
        model: In evaluation mode; no parameter requires a gradient.
        tokenizer: With a chat template.
        dtype: Of the weights that are not rounded.
        quantization: none, 8bit or 4bit; see `quantized`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    quantization: str = "none"

    @property
    def numbers(self) -> str:
        """What the weights are, in words that values measured with them are kept under."""
        held = "" if self.quantization == "none" else f" {self.quantization}"
        return f"{self.dtype}{held}"

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text by the tokenizer's word or by the generation configuration's."""
        config: Any = self.model.generation_config
        named = [self.tokenizer.eos_token_id, None if config is None else config.eos_token_id]
        several = [one if isinstance(one, list | tuple) else [one] for one in named]
        return frozenset(int(end) for ends in several for end in ends if end is not None)


def load_base_model(
    base_model: str,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    quantization: str = "none",
) -> BaseModel:
    """Load a base from local files, frozen.

    Args:
        base_model: A directory, or a hub id that is in the hub's cache.
        device: None for the best there is.
        dtype: None for the best the device computes in.
        quantization: none, 8bit or 4bit, as `choose_holding` gives it.

    Raises:
        BaseModelNotFound: The files are absent, are no causal language model, or need a package
            that is not installed.
        BaseModelUnsupported: It loads, and yet cannot be trained.
        ChatTemplateMissing: The tokenizer has none.
    """
    path = find_base_model(base_model)
    device = device or choose_device()
    dtype = dtype or choose_dtype(device)
    tokenizer = load_tokenizer(base_model)
    try:
        with without_progress_bars():
            model, loaded = class_of(path).from_pretrained(
                str(path),
                dtype=dtype,
                local_files_only=True,  # a cycle must not depend on the network
                output_loading_info=True,
                **loading_options(quantization, device, dtype),
            )
        if quantization == "none":  # rounded weights come to the device as they are rounded
            torch.nn.Module.to(model, device)
    except FOREIGN as error:
        raise BaseModelNotFound(
            f"{path} does not load as a causal language model: {foreign_words(error)}"
        ) from error
    _demand_weights(path, model, loaded["missing_keys"])
    keep_layout(model)
    model.requires_grad_(False)  # before any adapter: what is attached later does learn
    model.train(False)
    is_plain(model)  # now, and not in the middle of a cycle: it may say that none is possible
    demand_causal(model)
    return BaseModel(
        model=model, tokenizer=tokenizer, device=device, dtype=dtype, quantization=quantization
    )


def load_held(
    base_model: str, wanted: str, *, device: torch.device
) -> tuple[BaseModel, dict[str, str]]:
    """Load a base held as a recipe's `quantization` comes to here; and why so, in words.

    Raises: As `load_base_model` and `choose_holding`.
    """
    held = choose_holding(wanted, base_model, device, choose_dtype(device))
    return load_base_model(base_model, device=device, quantization=held.kind), held.described


def _demand_weights(path: Path, model: PreTrainedModel, missing: Collection[str]) -> None:
    """Refuse a model that transformers has filled up with random numbers."""
    if missing:
        first, *others = sorted(missing)
        raise BaseModelNotFound(
            f"{path} is no whole {type(model).__name__}: its weight {first} is missing"
            + (f", and {len(others)} more" if others else "")
            + ". Fetch it again, or name another base"
        )


def foreign_words(error: Exception) -> str:
    """What a library says of its failure, without the lists of classes that it may append."""
    first, *_ = re.split(r"\.\s*Model type should be one of|\n\n", str(error).strip())
    words = " ".join(first.split())
    return words or type(error).__name__


def class_of(path: Path) -> type[Any]:
    """What loads a base: a model that reads images, too, is told from one that reads text alone.

    Raises: BaseModelUnsupported: It has an encoder, of which a decoder alone would be loaded.
    """
    config = AutoConfig.from_pretrained(str(path), local_files_only=True)
    if config.is_encoder_decoder:
        raise BaseModelUnsupported(
            f"{path} is an encoder with a decoder ({config.model_type}): it does not go on with a "
            "text, which is what is trained here. Name a causal language model as the base"
        )
    known = (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM)
    loaders = (one for one in known if type(config) in one._model_mapping)  # noqa: SLF001  # no public one
    return next(loaders, AutoModelForCausalLM)


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a directory (weights not needed) or from the hub's cache.

    One that names no end of text has the one that the model's configuration names.

    Raises:
        BaseModelNotFound: There is none.
        ChatTemplateMissing: It has no chat template, or no character offsets to find a reply with.
    """
    path = Path(base_model).expanduser()
    if not path.is_dir():
        path = find_base_model(base_model)
    try:
        with without_progress_bars():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                str(path), local_files_only=True
            )
    except FOREIGN as error:
        raise BaseModelNotFound(
            f"{path} holds no tokenizer that loads: {_lone_model(path) or foreign_words(error)}"
        ) from error
    if not tokenizer.chat_template:
        raise ChatTemplateMissing(f"the tokenizer in {path} has no chat template")
    if not tokenizer.is_fast:
        raise ChatTemplateMissing(f"the tokenizer in {path} gives no character offsets")
    if tokenizer.eos_token_id is None and (end := _configured_end(path)) is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    return tokenizer


def pad_token_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The pad token's id, or that of any token: it stands behind what is read, without a label."""
    named = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((int(token) for token in named if token is not None), 0)


def _lone_model(path: Path) -> str | None:
    """What to do about a tokenizer of SentencePiece alone, where its package is not there."""
    if (path / "tokenizer.json").is_file() or find_spec("sentencepiece") is not None:
        return None
    found = next(iter(sorted(path.glob("*.model"))), None)
    if found is None:
        return None
    return (
        f"{found.name} alone needs the package sentencepiece: `pip install sentencepiece protobuf`,"
        " or put the model's tokenizer.json beside it"
    )


def _configured_end(path: Path) -> int | None:
    """The end of text that `generation_config.json`, or else `config.json`, names."""
    for name in ("generation_config.json", "config.json"):
        try:
            stored = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        end = stored.get("eos_token_id") if isinstance(stored, dict) else None
        end = end[0] if isinstance(end, list) and end else end
        if type(end) is int:
            return end
    return None


def device_named(name: str) -> torch.device:
    """A device by its name in a recipe; `auto` for the best there is.

    Raises: DeviceUnavailable.
    """
    if name == "auto":
        return choose_device()
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceUnavailable(
            f"There is no {name} here: torch {torch.__version__} sees "
            f"{count or 'no'} CUDA device{'s' if count > 1 else ''}{_of_visible()}. "
            "SAGE_DEVICE=auto takes the best there is."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("There is no mps here; SAGE_DEVICE=auto takes the best there is.")
    return device


def _of_visible() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"


def choose_device() -> torch.device:
    """CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies in it, else fp32.

    On a CPU without AVX-512 bf16 or AMX, bf16 products are emulated. With AVX-512 bf16, on
    2 EPYC cores, (800, 576) x (576, 1536) ran at 383 to 408 GFLOP/s in bf16 and 165 to 171 in fp32
    (torch.nn.functional.linear, 150 times). MPS: fp32 is a guess, not measured.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        if able.get("avx512_bf16") or able.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars, which a daemon's log has no use for."""
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
