"""Finds the hand-written decoder of a model with an adapter, where there is one.

The arithmetic is in `stack.py` beside it; here the model's own weights and peft's layers are read.
Must not know losses, optimisers or where a batch comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from app.training.by_hand.attention import Heads
from app.training.by_hand.blocks import Block
from app.training.by_hand.projections import Adapter, Layer, Projection
from app.training.by_hand.stack import Stack
from app.training.logits import is_plain
from app.training.lora import ADAPTER_NAME

_MODEL_TYPES = ("llama", "qwen2")


def find_stack(model: PreTrainedModel) -> Stack | None:
    """The hand-written decoder of a model with a LoRA adapter, or None where it does not apply.

    Applies to Llama and Qwen2 (full attention, SiLU) on a CPU, without LoRA dropout. The weights
    are the model's own: laying q, k, v and gate, up together gained 1 to 5 % in single products and
    costs a copy of them.
    """
    config = model.config
    decoder: Any = model.get_decoder()  # type: ignore[no-untyped-call]
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if (
        config.model_type not in _MODEL_TYPES
        or config.hidden_act != "silu"
        or getattr(config, "use_sliding_window", False)
        or getattr(config, "attention_dropout", 0.0)
        or model.device.type != "cpu"
        or type(head) is not nn.Linear  # a subclass, or peft's own, computes something else
        or type(decoder.embed_tokens) is not nn.Embedding
        or not is_plain(model)
    ):
        return None
    blocks = []
    for layer in decoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        parts = [
            _project(layers)
            for layers in (
                (attention.q_proj, attention.k_proj, attention.v_proj),
                (attention.o_proj,),
                (mlp.gate_proj, mlp.up_proj),
                (mlp.down_proj,),
            )
        ]
        if any(part is None for part in parts):
            return None
        qkv, o, gate_up, down = (part for part in parts if part is not None)
        blocks.append(
            Block(
                norm1=layer.input_layernorm.weight.data,
                norm2=layer.post_attention_layernorm.weight.data,
                eps=layer.input_layernorm.variance_epsilon,
                qkv=qkv,
                o=o,
                gate_up=gate_up,
                down=down,
                heads=Heads(
                    heads=config.num_attention_heads,
                    kv_heads=config.num_key_value_heads,
                    head_dim=attention.head_dim,
                ),
            )
        )
    embedding = decoder.embed_tokens.weight.data

    def make_rope(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The model's own: with whatever scaling of positions its configuration asks for. Of the
        # embedding it takes dtype and device only.
        with torch.no_grad():
            cos, sin = decoder.rotary_emb(embedding[:1], positions.unsqueeze(0))
        return cos[0], sin[0]

    return Stack(
        embedding=embedding,
        blocks=tuple(blocks),
        norm=decoder.norm.weight.data,
        eps=decoder.norm.variance_epsilon,
        head=head.weight.data,
        head_bias=head.bias,
        make_rope=make_rope,
    )


def _project(modules: Sequence[Any]) -> Projection | None:
    """A projection of layers with a common input; None where one is not linear plus plain LoRA."""
    layers: list[Layer] = []
    start = 0
    for module in modules:
        base: Any = getattr(module, "base_layer", module)
        adapter = None if base is module else _plain_lora(module)
        if type(base) is not nn.Linear:  # a quantised one, for example
            return None
        if base is not module and adapter is None:
            return None
        columns = slice(start, start + base.out_features)
        start = columns.stop
        bias: torch.Tensor | None = getattr(base, "bias", None)
        layers.append(Layer(weight=base.weight.data, bias=bias, columns=columns, adapter=adapter))
    return Projection(layers=tuple(layers))


def _plain_lora(layer: Any) -> Adapter | None:
    """The adapter of peft's LoRA layer; None with dropout, DoRA, biases or several adapters."""
    if list(getattr(layer, "lora_A", ())) != [ADAPTER_NAME] or layer.merged:
        return None
    down, up = layer.lora_A[ADAPTER_NAME], layer.lora_B[ADAPTER_NAME]
    is_plain = (
        isinstance(layer.lora_dropout[ADAPTER_NAME], nn.Identity)
        and not layer.lora_variant
        and down.bias is None
        and up.bias is None
    )
    if not is_plain:
        return None
    return Adapter(a=down.weight, b=up.weight, scale=float(layer.scaling[ADAPTER_NAME]))
