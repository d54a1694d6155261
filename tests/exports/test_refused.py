"""What another runtime's files cannot hold is refused, and the message names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.domain.export import OF_CHECKPOINTS, Export, find_export
from app.errors import AdapterNotExportable, BaseNotExportable, MergeLosesLearning
from app.exports.making import make
from tests.exports.tiny import Adapted, adapt, make_adapted, save_base

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"
)

GGUFS = (Export.ADAPTER_GGUF, Export.MERGED_Q8_0)


def refused(kind: type[Exception], export: Export, adapter: Path, base: Path, to: Path) -> str:
    with pytest.raises(kind) as found:
        make(export, adapter, base, to / f"refused-{export}")
    return str(found.value)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    return make_adapted(tmp_path_factory.mktemp("plain"), settings={})


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
@pytest.mark.parametrize("export", GGUFS)
def test_adapter_that_is_more_than_two_matrices(
    settings: dict[str, Any], word: str, export: Export, tmp_path: Path
) -> None:
    adapt(save_base(tmp_path / "base"), tmp_path / "adapter", settings)
    said = refused(AdapterNotExportable, export, tmp_path / "adapter", tmp_path / "base", tmp_path)
    assert word in said


def test_bias_beside_the_matrices(tmp_path: Path) -> None:
    model = save_base(tmp_path / "base", attention_bias=True)
    adapt(model, tmp_path / "adapter", {"bias": "lora_only", "target_modules": ["q_proj"]})
    base = tmp_path / "base"
    for export in GGUFS:
        assert "bias" in refused(AdapterNotExportable, export, tmp_path / "adapter", base, tmp_path)


def test_head_that_shares_the_embeddings(tmp_path: Path) -> None:
    model = save_base(tmp_path / "base", tie_word_embeddings=True)
    adapt(model, tmp_path / "adapter", {"target_modules": ["lm_head"]})
    for export in GGUFS:
        said = refused(
            AdapterNotExportable, export, tmp_path / "adapter", tmp_path / "base", tmp_path
        )
        assert "lm_head" in said


def test_family_that_is_not_known(tmp_path: Path) -> None:
    model = save_base(tmp_path / "base", "gpt_neox")
    adapt(model, tmp_path / "adapter", {})
    for export in GGUFS:
        said = refused(BaseNotExportable, export, tmp_path / "adapter", tmp_path / "base", tmp_path)
        assert "gpt_neox" in said
        assert "qwen2" in said


def test_stack_of_a_family_whose_experts_are_not_known(tmp_path: Path) -> None:
    adapter = {"target_modules": ["q_proj"], "target_parameters": ["gate_up_proj", "down_proj"]}
    adapt(save_base(tmp_path / "base", "granitemoe"), tmp_path / "adapter", adapter)
    for export in OF_CHECKPOINTS:
        said = refused(Exception, export, tmp_path / "adapter", tmp_path / "base", tmp_path)
        assert "granitemoe" in said or "experts" in said


def test_patterns_over_stacks_of_experts(tmp_path: Path) -> None:
    adapter = {
        "target_modules": ["q_proj"],
        "target_parameters": ["down_proj"],
        "alpha_pattern": {"down_proj": 16},
    }
    adapt(save_base(tmp_path / "base", "qwen3_moe"), tmp_path / "adapter", adapter)
    for export in GGUFS:
        said = refused(
            AdapterNotExportable, export, tmp_path / "adapter", tmp_path / "base", tmp_path
        )
        assert "alpha_pattern" in said


def test_layers_that_lie_transposed(tmp_path: Path) -> None:
    adapt(save_base(tmp_path / "base", "gpt2"), tmp_path / "adapter", {"fan_in_fan_out": True})
    for export in OF_CHECKPOINTS:
        said = refused(
            AdapterNotExportable, export, tmp_path / "adapter", tmp_path / "base", tmp_path
        )
        assert "transposed" in said


def test_adapter_of_another_base(plain: Adapted, tmp_path: Path) -> None:
    save_base(tmp_path / "base", intermediate_size=96)
    said = refused(
        AdapterNotExportable, Export.MERGED_Q8_0, plain.adapter, tmp_path / "base", tmp_path
    )
    assert "another base" in said


def test_gguf_file_of_another_base(plain: Adapted, tmp_path: Path) -> None:
    save_base(tmp_path / "base", intermediate_size=96)
    other = tmp_path / "other.gguf"
    from app.exports.merged import Numbers, write_merged_gguf

    write_merged_gguf([], tmp_path / "base", other, numbers=Numbers.F16, name="other")
    with pytest.raises(BaseNotExportable, match="another model than the base"):
        make(Export.MERGED_F16, plain.adapter, plain.base, tmp_path / "x", base_gguf=other)
    other.write_bytes(b"GGUF")
    with pytest.raises(BaseNotExportable, match="cannot be read as GGUF"):
        make(Export.MERGED_F16, plain.adapter, plain.base, tmp_path / "x", base_gguf=other)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_damaged_weights(content: bytes, plain: Adapted, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(
        (plain.adapter / "adapter_config.json").read_bytes()
    )
    (tmp_path / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(AdapterNotExportable):
        make(Export.ADAPTER_GGUF, tmp_path, plain.base, tmp_path / "x")


def test_weights_that_cannot_be_added_to(plain: Adapted, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in plain.base.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    weights = load_file(base / "model.safetensors")
    eight_bits = {name: weight.to(torch.float8_e4m3fn) for name, weight in weights.items()}
    save_file(eight_bits, base / "model.safetensors", metadata={"format": "pt"})
    said = refused(BaseNotExportable, Export.MERGED_Q8_0, plain.adapter, base, tmp_path)
    assert "F8_E4M3" in said
    (base / "model.safetensors").rename(base / "model.bin")
    said = refused(BaseNotExportable, Export.MERGED_Q8_0, plain.adapter, base, tmp_path)
    assert "safetensors first" in said


def test_number_too_large_for_16_bits(plain: Adapted, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in plain.base.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    said = refused(BaseNotExportable, Export.MERGED_F16, plain.adapter, base, tmp_path)
    assert "q8_0" in said


@pytest.mark.parametrize("change", ["no file", "sentencepiece", "another cut", "no JSON"])
def test_tokenizer_that_is_not_known(change: str, plain: Adapted, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in plain.base.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    if change == "sentencepiece":
        tokenizer["model"]["byte_fallback"] = True
    elif change == "another cut":
        tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (base / "tokenizer.json").write_text("{" if change == "no JSON" else json.dumps(tokenizer))
    if change == "no file":
        (base / "tokenizer.json").unlink()
    said = refused(BaseNotExportable, Export.MERGED_F16, plain.adapter, base, tmp_path)
    assert "--base-gguf" in said
    make(Export.ADAPTER_GGUF, plain.adapter, base, tmp_path / "adapter.gguf")


@pytest.mark.parametrize(
    "name", ["merged-q4_0.gguf", "merged-q4_k_m.gguf", "merged-gguf-q4_1", "merged-iq2_xs.gguf"]
)
def test_four_bits_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(MergeLosesLearning, match=r"KL of 0\.67.*0\.34.*0\.99"):
        find_export(name)


def test_other_names_are_no_exports() -> None:
    assert find_export("manifest.json") is None
    assert find_export("merged-q5_0.gguf") is None
    assert find_export("merged-q8_0.gguf") is Export.MERGED_Q8_0
