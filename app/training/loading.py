"""Bring a base model and its tokenizer into memory.

Must not know adapters or training data. Foreign loading errors are translated here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from app.artifacts.bases import find_base_model
from app.errors import BaseModelNotFound, ChatTemplateMissing


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

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text by the tokenizer's word or by the generation configuration's."""
        config: Any = self.model.generation_config
        named = [self.tokenizer.eos_token_id, None if config is None else config.eos_token_id]
        several = [one if isinstance(one, list | tuple) else [one] for one in named]
        return frozenset(int(end) for ends in several for end in ends if end is not None)


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
        with without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                str(path),
                dtype=dtype,
                local_files_only=True,  # a cycle must not depend on the network
                attn_implementation="sdpa",
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BaseModelNotFound(f"{path} does not load as a causal language model: {error}") from (
            error
        )
    torch.nn.Module.to(model, device)
    model.requires_grad_(False)  # before any adapter: what is attached later does learn
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
        with without_progress_bars():
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


def pad_token_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The pad token's id; `load_tokenizer` has made sure that there is one."""
    return int(tokenizer.pad_token_id)


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
