"""Names of models lead to the base that has their weights, and to no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.model_names import SHIPPED, ModelTable, forms_of, is_same_base, slugs_of

TABLE = ModelTable()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("phi4:14b", "microsoft/phi-4"),
        ("phi4", "microsoft/phi-4"),
        ("qwen2.5:0.5b", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("ollama:qwen2.5:14b", "Qwen/Qwen2.5-14B-Instruct"),
        ("Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5:0.5b-instruct-q4_K_M", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5:0.5b-instruct-fp16", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("gemma3:12b", "google/gemma-3-12b-it"),
        ("gemma3:4b-it-q8_0", "google/gemma-3-4b-it"),
        ("tinyllama:latest", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("registry.ollama.ai/library/llama3.2:latest", "meta-llama/Llama-3.2-3B-Instruct"),
        ("smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("hf.co/bartowski/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("deepseek-r1:70b", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"),
        ("/models/hub/phi-4", "microsoft/phi-4"),
        ("owner/model", "owner/model"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"),
    ],
)
def test_name_leads_to_its_base(name: str, base: str) -> None:
    assert TABLE.find(name) == base


@pytest.mark.parametrize(
    "name",
    [
        "epistemic-pragmatism",  # a fine-tune, whose weights lie in a directory alone
        "qwen2.5:0.5b-base",
        "qwen2.5:9b",
        "mistral:7b-instruct-v0.2",
        "llama3.2:3b-text-q8_0",
        "gemma3:4b-it-qat",
        "dp/legion:latest",
        "q",
        "",
        "hf.co/somebody/My-Phi-GGUF",
    ],
)
def test_name_of_other_weights_leads_nowhere(name: str) -> None:
    assert TABLE.find(name) is None


def test_operator_adds_names_and_overrules_those_that_are_shipped() -> None:
    table = ModelTable(
        own=(("Epistemic-Pragmatism", "/models/ep"), ("qwen2.5:0.5b", "owner/tuned"))
    )
    assert table.find("ollama:epistemic-pragmatism:latest") == "/models/ep"
    assert table.find("/home/sprout/model-zoo/epistemic-pragmatism") == "/models/ep"
    assert table.find("qwen2.5-0.5b") == "owner/tuned"
    assert table.find("phi4:14b") == "microsoft/phi-4"
    rows = table.rows()
    assert ("qwen2.5:0.5b", "owner/tuned", True) in rows
    assert len([name for name, _, _ in rows if name == "qwen2.5:0.5b"]) == 1


def test_no_two_shipped_names_are_one() -> None:
    forms = [forms_of(name)[0] for name in SHIPPED]
    assert len(forms) == len(set(forms)) > 80


@given(st.text(max_size=60))
def test_any_text_is_looked_for(name: str) -> None:
    found = TABLE.find(name)
    assert found is None or found == name or found in SHIPPED.values()


def test_directory_and_hub_id_of_one_model_are_the_same_base() -> None:
    assert is_same_base("/data/models/Qwen2.5-0.5B-Instruct/", "Qwen/Qwen2.5-0.5b-instruct")
    assert not is_same_base("/data/models/phi-4", "microsoft/phi-4-mini")


def test_instance_is_called_after_machine_and_model() -> None:
    assert slugs_of("Legion", "phi4:14b") == {"legion-phi4-14b"}
    assert slugs_of("sprout", "Qwen/Qwen2.5-0.5B") == {"sprout-qwen2.5-0.5b"}
    assert slugs_of("thor", "ollama:qwen2.5:14b") == {
        "thor-qwen2.5-14b", "thor-ollama-qwen2.5-14b",
    }  # fmt: skip
