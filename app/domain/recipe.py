"""How a cycle trains: the hyper-parameters and what they were measured with."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.variations import VariationKind

ALL_LINEAR_MODULES = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip
"""Every linear layer of a Llama or Qwen2 block (LoRA Without Regret, 2025: all of them pay)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Hyper-parameters of a cycle, named as in peft and transformers.

    Attributes:
        anchor_weight: Of the KL to the base on anchors, beside the loss of a batch; 0 for none.
        anchors_per_batch: How many stand beside such a batch.
        anchor_interval: After the first batches anchors stand beside one of so many.
        variations: Kinds that are made of what is trained, and trained on beside it; none unless
            asked for: whether they help was not measured. See `app.domain.variations`.
        variation_share: So many are made for each trained experience at most.

    Measured on the embedded model, 185 real exchanges and the 47 after them held out, two epochs;
    gain on held-out, rise of the loss on general pairs and KL to the base on them, nats per token:

        learning_rate, anchors per batch, interval     gain    general     KL
        2e-4           3                  1            0.725    -0.007    0.022
        4e-4           3                  1            0.854    -0.025    0.018
        4e-4           3                  2            0.855    -0.013    0.025
        4e-4           2                  2            0.860    -0.017    0.027
        4e-4           2                  3, see       0.859    -0.041    0.034
                                          ANCHOR_LEAD

    A batch with 3 anchors beside it took 1.6 times one without, with 2 anchors 1.5 times; so they
    stand beside a third of the batches, but for the first. Ten cycles of 36 exchanges in a row, of
    two models' sessions one after the other, left 17 % of the first slice's gain without rehearsal
    and 96 % with a share of 0.3. These are trials, each run once; `test_recipe.py` of the
    benchmarks measures the default, beside training without anchors and the older recipe.
    """

    epochs: int = 2
    learning_rate: float = 4e-4
    batch_size: int = 4
    r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ALL_LINEAR_MODULES
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    max_length: int = 1024
    rehearsal_share: float = 0.3
    anchor_weight: float = 1.0
    anchors_per_batch: int = 2
    anchor_interval: int = 3
    variations: tuple[VariationKind, ...] = ()
    variation_share: float = 0.5
    seed: int = 0
