"""A model small enough to run whole cycles in seconds, and a gate that lets it through."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from app.domain.gate import GatePolicy

LOOSE = GatePolicy(
    held_out_tolerance=100.0,
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


def make_tiny_model(path: Path, *, tokenizer_of: Path, hidden_size: int = 32) -> Path:
    """Write a Llama of two thin layers with random weights and another model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_of))
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
    tokenizer.save_pretrained(str(path))
    return path
