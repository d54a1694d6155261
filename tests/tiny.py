"""A model small enough to run whole cycles in seconds, and a gate that lets it through."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from app.domain.gate import GatePolicy

LOOSE = GatePolicy(
    held_out_tolerance=100.0,
    held_out_median_tolerance=100.0,
    inert_limit=0.0,
    general_kl=100.0,
    general_loss_rise=100.0,
    anchor_kl=100.0,
    repetition_rise=1.0,
    looping_rise=1.0,
    distinct_fall=1.0,
    similar_pairs_rise=1.0,
    question_floods_rise=1.0,
    copies_rise=1.0,
    disclaimers_rise=1.0,
    self_references_fall=1.0,
    ended_fall=1.0,
    recall_fall=1.0,
    invention_rise=1.0,
    update_norm=100.0,
    broken_kl=100.0,
)
"""A model of random weights knows nothing that it could forget, and speaks no language."""


VOCABULARY = 4096
"""Of the 49,152 tokens of the embedded model, whose columns cost a thin model nine tenths of a
cycle: with all of them a cycle takes 7 s of a core."""


def make_tiny_model(
    path: Path, *, tokenizer_of: Path, hidden_size: int = 32, vocabulary: int = VOCABULARY
) -> Path:
    """Write a Llama of two thin layers with random weights and another model's first tokens."""
    AutoTokenizer.from_pretrained(str(tokenizer_of)).save_pretrained(str(path))
    _cut(path / "tokenizer.json", vocabulary)
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(str(path))
    return path


def _cut(file: Path, size: int) -> None:
    """Leave a tokenizer its first tokens: special ones, bytes, and what was merged first."""
    tokenizer = json.loads(file.read_text("utf-8"))
    model = tokenizer["model"]
    model["vocab"] = {token: id_ for token, id_ in model["vocab"].items() if id_ < size}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
