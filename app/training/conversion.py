"""Convert a GGUF file, as llama.cpp reads it, to what transformers reads.

Must not know where the file comes from or what becomes of the model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.errors import ModelDownloadFailed
from app.training.loading import without_progress_bars


def convert_gguf(gguf: Path, target: Path) -> None:
    """Dequantise a GGUF file to bf16 safetensors with its tokenizer and chat template.

    bf16 keeps 8 bits of mantissa, twice what the 4-bit weights hold.

    Raises:
        ModelDownloadFailed: transformers cannot read the file.
    """
    source = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        with without_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **source)
            model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), **source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelDownloadFailed(f"{gguf.name} cannot be converted: {error}") from error
    # transformers refuses to save a model that it still takes for a quantised one.
    del model.config.quantization_config
    for name, value in (("hf_quantizer", None), ("is_quantized", False)):
        setattr(model, name, value)
    torch.nn.Module.to(model, torch.bfloat16)
    with without_progress_bars():
        model.save_pretrained(str(target))
        tokenizer.save_pretrained(str(target))
