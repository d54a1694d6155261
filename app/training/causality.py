"""Whether a model goes on with a text token by token, or has seen the end of it when it begins.

One that reads a text in both directions would be shown the replies that it is to learn: its loss
falls, and it writes no better. Its configuration does not tell it (a BERT loads as a causal LM), so
that it is tried out. Must not know which families are of this kind.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from app.errors import BaseModelUnsupported
from app.training.logits import TRIED_TOKENS, decoder_of, plain_tokens

_EARLY_TOKENS = 3
"""Of the tried text: what is said of these must not depend on the others."""

_NOISE = 1e-5
"""Of the largest gradient. Masks let nothing at all through, in fp32 and in bf16, in any of the 115
causal families that were tried; 16 of BERT's kind, of two thin layers with random weights, let
through 0.0018 and more. What lies between is for sums that round (Fourier transforms): a guess.
It takes 0.8 s of CPU time for 0.5 billion weights in fp32, forth and back once."""


def demand_causal(model: PreTrainedModel) -> None:
    """Try out a bare model. Raises: BaseModelUnsupported: It is none, or takes no gradient."""
    by_token = _gradients(model)
    early, late = by_token[:_EARLY_TOKENS], by_token[_EARLY_TOKENS:]
    if float(late.max()) > _NOISE * float(early.max()):
        raise BaseModelUnsupported(
            f"{type(model).__name__} is no causal language model: what it says of a token depends "
            "on those that come after it, so that it would be shown the replies that it is to "
            "learn. Name a causal language model as the base"
        )


def _gradients(model: PreTrainedModel) -> torch.Tensor:
    """The largest of each token's gradients (T,) that the early tokens' states give.

    Gradients, and not what the states of other texts are: with small weights those differ by less
    than bf16 rounds away.
    """
    ids = torch.tensor([plain_tokens(model, TRIED_TOKENS)], device=model.device)
    largest = torch.zeros(TRIED_TOKENS, device=model.device)
    marks: list[torch.Tensor] = []

    def mark(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        marks.append(torch.zeros_like(output, requires_grad=True))
        return output + marks[-1]

    embedding: Any = model.get_input_embeddings()
    handle = embedding.register_forward_hook(mark)
    was_training = model.training
    model.train(False)
    try:
        with torch.enable_grad():
            decoder: Any = decoder_of(model)
            states = decoder(input_ids=ids, use_cache=False).last_hidden_state[0, :_EARLY_TOKENS]
            states.float().pow(3).sum().backward()  # not squares, whose sum a last norm makes one
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise BaseModelUnsupported(
            f"{type(model).__name__} takes no gradient of a text of {TRIED_TOKENS} tokens: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        handle.remove()
        model.train(was_training)
    for one in marks:
        if one.grad is not None and one.shape[:2] == ids.shape:
            largest = torch.maximum(largest, one.grad[0].float().abs().amax(dim=-1))
    return largest
