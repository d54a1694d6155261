"""Model families for tests: their chat templates' behaviour, and small tokenizers to go with them.

The templates in `chat_templates/` were written for these tests: what counts is how each family
treats roles, white space, reasoning and the end of a turn, not its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "chat_templates"


@dataclass(frozen=True, kw_only=True)
class Family:
    """The tokens that a family has besides its text's."""

    end_of_turn: str
    special: tuple[str, ...]
    plain: tuple[str, ...] = ()
    bos: str | None = None
    eos: str
    is_spaced: bool = False
    trims: bool = False


FAMILIES = {
    "chatml": Family(
        end_of_turn="<|im_end|>",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|im_end|>",
    ),
    "qwen3": Family(
        end_of_turn="<|im_end|>",
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        plain=(
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "<tool_response>",
            "</tool_response>",
        ),
        eos="<|im_end|>",
    ),
    "gemma2": Family(
        end_of_turn="<end_of_turn>",
        special=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        is_spaced=True,
        trims=True,
    ),
    "gemma3": Family(
        end_of_turn="<end_of_turn>",
        special=("<bos>", "<eos>"),
        plain=("<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        eos="<eos>",
        is_spaced=True,
        trims=True,
    ),
    "mistral": Family(
        end_of_turn="</s>",
        special=("<s>", "</s>", "[INST]", "[/INST]"),
        bos="<s>",
        eos="</s>",
        is_spaced=True,
        trims=True,
    ),
    "llama2": Family(
        end_of_turn="</s>",
        special=("<s>", "</s>"),
        bos="<s>",
        eos="</s>",
        is_spaced=True,
        trims=True,
    ),
    "phi3": Family(
        end_of_turn="<|end|>",
        special=("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        eos="<|endoftext|>",
    ),
    "r1": Family(
        end_of_turn="<｜end▁of▁sentence｜>",
        special=("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        plain=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
    ),
    "llama3": Family(
        end_of_turn="<|eot_id|>",
        special=(
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        trims=True,
    ),
    "glm4": Family(
        end_of_turn="<|endoftext|>",
        special=(
            "<|endoftext|>",
            "[gMASK]",
            "<sop>",
            "<|system|>",
            "<|user|>",
            "<|assistant|>",
            "<|tool|>",
        ),
        eos="<|endoftext|>",
    ),
    "granite": Family(
        end_of_turn="<|end_of_text|>",
        special=("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        eos="<|end_of_text|>",
    ),
    "cohere": Family(
        end_of_turn="<|END_OF_TURN_TOKEN|>",
        special=(
            "<BOS_TOKEN>",
            "<EOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ),
        bos="<BOS_TOKEN>",
        eos="<EOS_TOKEN>",
        trims=True,
    ),
    "vicuna": Family(
        end_of_turn="</s>",
        special=("<s>", "</s>"),
        eos="</s>",
        is_spaced=True,
    ),
}

_CORPUS = (
    "We wondered together what the morning taught us, and said exactly what we do not know.",
    "user assistant system model Hello. Hi there. I am SAGE. Yes. The reply is here, is it not?",
    "The garden was quiet; the kettle sang; somebody counted from one to one hundred and back.",
)


@lru_cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """A small tokenizer: of bytes, or of words with their space before them (SentencePiece)."""
    family = FAMILIES[name]
    if family.is_spaced:
        core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))  # noqa: S106  # no password
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        core.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
        )
        fallback = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=fallback, show_progress=False)
    else:
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, initial_alphabet=alphabet, show_progress=False
        )
    core.train_from_iterator(_CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, bos_token=family.bos, eos_token=family.eos, pad_token=family.eos
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in family.special]
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=False, normalized=False) for token in family.plain]
    )
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return tokenizer
