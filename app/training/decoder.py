"""Finds the hand-written decoder of a model with an adapter, where there is one.

The arithmetic is in `app.training.blocks`; here the model's own weights and peft's layers are read.
Must not know losses, optimisers or where a batch comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from app.training.blocks import Adapter, Block, BlockFunction, Layer, Projection, causal_masks
from app.training.lora import ADAPTER_NAME
from app.training.packing import Packing

KEPT_BYTES = 200_000_000
"""Activations kept for the backward pass of one part of a batch: 643 tokens of SmolLM2-135M, 329 of
the Qwen2.5-0.5B geometry. A part costs more per token the fewer rows share its prefix."""

_MODEL_TYPES = ("llama", "qwen2")


class FusedDecoder:
    """A decoder's blocks on packed rows; see `find_fused_decoder`.

    Attributes:
        part_tokens: Tokens whose kept activations take `KEPT_BYTES`.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        embedding: nn.Embedding,
        norm: nn.Module,
        rotary: nn.Module,
    ) -> None:
        width = sum(
            2 * part.layers[0].weight.shape[1] + part.layers[-1].columns.stop
            for block in blocks
            for part in (block.qkv, block.gate_up)
        ) - sum(len(block.norm1) * 2 for block in blocks)
        self.part_tokens = KEPT_BYTES // (width * embedding.weight.element_size())
        self._blocks = blocks
        self._embedding = embedding
        self._norm = norm
        self._rotary = rotary

    def hidden_states(self, packing: Packing, wanted: torch.Tensor) -> torch.Tensor:
        """The decoder's output after its last norm, with gradient for the adapters.

        Args:
            packing: Of the whole batch.
            wanted: int64 (M,), packed indices of the tokens to return, repeated ones too.

        Returns:
            (M, H)
        """
        x = functional.embedding(packing.input_ids, self._embedding.weight)
        with torch.no_grad():
            cos, sin = self._rotary(x, packing.positions.unsqueeze(0))
        rope = (cos[0].unsqueeze(1), sin[0].unsqueeze(1))
        masks = causal_masks(packing, self._blocks[0], x.dtype)
        for block in self._blocks:
            parameters = [p for part in block.projections() for p in part.parameters()]
            x = BlockFunction.apply(x, block, packing, rope, masks, *parameters)  # type: ignore[no-untyped-call]
        normed: torch.Tensor = self._norm(x[wanted])
        return normed


def find_fused_decoder(model: PreTrainedModel) -> FusedDecoder | None:
    """The hand-written decoder of a model with a LoRA adapter, or None where it does not apply.

    Applies to Llama and Qwen2 (full attention, SiLU) on a CPU, without LoRA dropout. The weights
    are the model's own: laying q, k, v and gate, up together gained 1 to 5 % in single products and
    costs a copy of them.
    """
    config = model.config
    decoder: Any = model.get_decoder()  # type: ignore[no-untyped-call]
    if (
        config.model_type not in _MODEL_TYPES
        or config.hidden_act != "silu"
        or getattr(config, "use_sliding_window", False)
        or getattr(config, "attention_dropout", 0.0)
        or model.device.type != "cpu"
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
                norm1=layer.input_layernorm.weight,
                norm2=layer.post_attention_layernorm.weight,
                eps=layer.input_layernorm.variance_epsilon,
                qkv=qkv,
                o=o,
                gate_up=gate_up,
                down=down,
                heads=config.num_attention_heads,
                kv_heads=config.num_key_value_heads,
                head_dim=attention.head_dim,
            )
        )
    return FusedDecoder(blocks, decoder.embed_tokens, decoder.norm, decoder.rotary_emb)


def _project(modules: Sequence[Any]) -> Projection | None:
    """A projection of layers with a common input; None where one is not linear plus plain LoRA."""
    layers: list[Layer] = []
    start = 0
    for module in modules:
        base: Any = getattr(module, "base_layer", module)
        adapter = None if base is module else _plain_lora(module)
        if type(base) is not nn.Linear:
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
