"""How a cycle trains: the hyper-parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat, StringConstraints
from pydantic.dataclasses import dataclass

from app.domain.declared import DECLARED, Listed, Share

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
ALL_LINEAR = "all-linear"
"""Every linear layer of the decoder's blocks, whatever a family calls it, and no other one (LoRA
Without Regret, 2025: all of them pay)."""


GONE_FROM_RECIPES = frozenset({"variations", "variation_share"})
"""Fields that stored plans and manifests still name. Variations gave a reply another context, such
as its prompt in other words; what was told was recalled no better by them (the guide's page)."""


@dataclass(frozen=True, kw_only=True, slots=True, config=DECLARED)
class Recipe:
    """Hyper-parameters of a cycle, named as in peft and transformers.

    The trials that chose the values stand in the guide, `app/web/guide/recipe.md`.
    """

    epochs: Annotated[
        int, Field(ge=1, le=100, description="How often each experience is trained on.")
    ] = 2
    learning_rate: Annotated[
        FiniteFloat, Field(gt=0, le=1, description="At its height, after the warm-up.")
    ] = 4e-4
    batch_size: Annotated[int, Field(ge=1, le=256, description="Examples of one step.")] = 4
    r: Annotated[int, Field(ge=1, le=512, description="Rank of a new adapter.")] = 16
    lora_alpha: Annotated[
        int, Field(ge=1, le=1024, description="A new adapter's change is scaled by lora_alpha / r.")
    ] = 32
    lora_dropout: Annotated[
        FiniteFloat, Field(ge=0, lt=1, description="Share of an adapter's inputs left out.")
    ] = 0.0
    target_modules: Annotated[
        tuple[ModuleName, ...],
        Listed(min_length=1, max_length=1024),
        Field(
            description="Layers that a new adapter changes, by the end of their names; all-linear "
            "for all of the decoder's blocks. In the environment: q_proj,v_proj."
        ),
    ] = (ALL_LINEAR,)
    weight_decay: Annotated[Share, Field(description="As in AdamW; 0 for none.")] = 0.0
    warmup_ratio: Annotated[
        Share, Field(description="Of the steps, over which the learning rate rises.")
    ] = 0.1
    max_grad_norm: Annotated[
        FiniteFloat, Field(gt=0, description="A step's longer gradient is cut to it.")
    ] = 1.0
    max_length: Annotated[int, Field(ge=16, le=32768, description="Tokens per example.")] = 1024
    rehearsal_share: Annotated[
        Share, Field(description="Earlier experiences for each new one trained.")
    ] = 0.3
    anchor_weight: Annotated[
        FiniteFloat,
        Field(ge=0, le=100, description="Of the KL to the base on anchors; 0 for none."),
    ] = 1.0
    anchors_per_batch: Annotated[
        int, Field(ge=1, le=40, description="Anchors beside a batch that has some.")
    ] = 2
    anchor_interval: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="After the first batches, anchors stand beside one of so many.",
        ),
    ] = 3
    anchor_identity_share: Annotated[
        Share, Field(description="Of the anchors, asked under the identity prompt; the rest bare.")
    ] = 0.5
    dreams: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="Questions that each told statement is asked by and answered with; 0 for "
            "none.",
        ),
    ] = 0
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="The same plan and seed give the same adapter.")
    ] = 0
    device: Annotated[
        str,
        StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"),
        Field(
            description="Where it trains: cpu, cuda, cuda:1, mps, or auto for the best there is."
        ),
    ] = "auto"
    quantization: Annotated[
        str,
        StringConstraints(pattern=r"^(auto|none|8bit|4bit)$"),
        Field(
            description="How the base is held while it trains: none for as it is, 8bit or 4bit, or "
            "auto for the mildest that a GPU's free memory holds; on a CPU auto is none."
        ),
    ] = "auto"
