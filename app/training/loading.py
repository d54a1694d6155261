"""Bring a base model and its tokenizer into memory, and convert the embedded one's GGUF file.

Must not know adapters or training data. Foreign loading errors are translated here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from app.errors import BaseModelNotFound, ChatTemplateMissing, ModelDownloadFailed
from app.training.models import find_base_model


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A frozen base in memory.

    Attributes:
        model: In evaluation mode; no parameter requires a gradient.
        tokenizer: With a chat template and a pad token.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype


def load_base_model(
    base_model: str, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> BaseModel:
    """Load a base from local files, frozen.

    Args:
        base_model: A directory, or a hub id that is in the hub's cache.
        device: None for the best there is.
        dtype: None for the best the device computes in.

    Raises:
        BaseModelNotFound: The files are absent or are no causal language model.
        ChatTemplateMissing: The tokenizer has none.
    """
    path = find_base_model(base_model)
    device = device or choose_device()
    dtype = dtype or choose_dtype(device)
    tokenizer = load_tokenizer(base_model)
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(
                str(path), dtype=dtype, local_files_only=True, attn_implementation="sdpa"
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BaseModelNotFound(f"{path} does not load as a causal language model: {error}") from (
            error
        )
    torch.nn.Module.to(model, device)
    model.requires_grad_(False)
    model.train(False)
    return BaseModel(model=model, tokenizer=tokenizer, device=device, dtype=dtype)


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a directory (weights not needed) or from the hub's cache.

    A tokenizer without a pad token pads with its end-of-text token.

    Raises:
        BaseModelNotFound: There is none.
        ChatTemplateMissing: It has no chat template, or no character offsets to find a reply with.
    """
    path = Path(base_model).expanduser()
    if not path.is_dir():
        path = find_base_model(base_model)
    try:
        with _quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                str(path), local_files_only=True
            )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelNotFound(f"{path} holds no tokenizer that loads: {error}") from error
    if not tokenizer.chat_template:
        raise ChatTemplateMissing(f"the tokenizer in {path} has no chat template")
    if not tokenizer.is_fast:
        raise ChatTemplateMissing(f"the tokenizer in {path} gives no character offsets")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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


def convert_gguf(gguf: Path, target: Path) -> None:
    """Dequantise a GGUF file to bf16 safetensors with its tokenizer and chat template.

    bf16 keeps 8 bits of mantissa, twice what the 4-bit weights hold.

    Raises:
        ModelDownloadFailed: transformers cannot read the file.
    """
    source = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **source)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), **source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelDownloadFailed(f"{gguf.name} cannot be converted: {error}") from error
    # transformers refuses to save a model that it still takes for a quantised one.
    del model.config.quantization_config
    for name, value in (("hf_quantizer", None), ("is_quantized", False)):
        setattr(model, name, value)
    torch.nn.Module.to(model, torch.bfloat16)
    with _quiet():
        model.save_pretrained(str(target))
        tokenizer.save_pretrained(str(target))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, which a daemon's log has no use for."""
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
