"""Continuations: what the model would say alone, whatever is asked beside it."""

from __future__ import annotations

import pytest
import torch

from app.training.generation import Draw, continue_prompts
from app.training.loading import BaseModel

LONG = tuple(range(100, 130))
SHORT = (7, 8, 9)
NO_END: frozenset[int] = frozenset()


def alone(base: BaseModel, prompt: tuple[int, ...], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(base.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_rows_are_what_the_model_says_alone(tiny_base: BaseModel) -> None:
    draws = [Draw(prompt=LONG), Draw(prompt=SHORT)]
    rows = continue_prompts(tiny_base.model, draws, new_tokens=6, end_ids=NO_END)
    assert rows == [alone(tiny_base, LONG, 6), alone(tiny_base, SHORT, 6)]


def test_shared_beginning_changes_nothing(tiny_base: BaseModel) -> None:
    prompts = [(*LONG, 7, 8), (*LONG, 9), LONG]
    draws = [Draw(prompt=prompt) for prompt in prompts]
    rows = continue_prompts(tiny_base.model, draws, new_tokens=4, end_ids=NO_END)
    assert rows == [alone(tiny_base, prompt, 4) for prompt in prompts]


def test_sampled_row_does_not_depend_on_its_neighbours_or_the_global_seed(
    tiny_base: BaseModel,
) -> None:
    wanted = Draw(prompt=SHORT, seed=3)
    torch.manual_seed(1)
    (first,) = continue_prompts(tiny_base.model, [wanted], new_tokens=6, end_ids=NO_END)
    state = torch.get_rng_state()
    others = [Draw(prompt=LONG, seed=3), wanted, Draw(prompt=SHORT, seed=4), Draw(prompt=SHORT)]
    rows = continue_prompts(tiny_base.model, others, new_tokens=6, end_ids=NO_END)
    assert rows[1] == first
    assert rows[2] != first
    assert torch.equal(state, torch.get_rng_state())


def test_end_token_is_the_last_of_its_row(tiny_base: BaseModel) -> None:
    said = alone(tiny_base, LONG, 6)
    end = frozenset({said[2]})
    draws = [Draw(prompt=LONG), Draw(prompt=SHORT)]
    rows = continue_prompts(tiny_base.model, draws, new_tokens=6, end_ids=end)
    assert rows[0] == said[: said.index(said[2]) + 1]


def test_samples_follow_the_models_distribution(tiny_base: BaseModel) -> None:
    draws = [Draw(prompt=SHORT, seed=seed) for seed in range(400)]
    rows = continue_prompts(tiny_base.model, draws, new_tokens=1, end_ids=NO_END)
    with torch.no_grad():
        logits = tiny_base.model(input_ids=torch.tensor([SHORT])).logits[0, -1]
    probabilities = torch.softmax(logits.float() / 0.7, dim=-1)
    order = probabilities.argsort(descending=True)
    likely = set(order[: len(order) // 2].tolist())
    share = sum(row[0] in likely for row in rows) / len(rows)
    expected = float(probabilities[list(likely)].sum())
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 400) ** 0.5


def test_rows_that_find_no_memory_together_are_continued_in_halves(tiny_base: BaseModel) -> None:
    draws = [Draw(prompt=LONG), Draw(prompt=SHORT), Draw(prompt=SHORT, seed=1), Draw(prompt=(5,))]
    draws += [Draw(prompt=LONG, seed=2)]
    expected = continue_prompts(tiny_base.model, draws, new_tokens=4, end_ids=NO_END)

    room = 1

    def run_out(_block: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    tiny_base.model.get_decoder().layers[1].register_forward_pre_hook(run_out)  # type: ignore[no-untyped-call]
    assert continue_prompts(tiny_base.model, draws, new_tokens=4, end_ids=NO_END) == expected
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        continue_prompts(tiny_base.model, draws, new_tokens=4, end_ids=NO_END)


def test_no_prompt_gives_no_row(tiny_base: BaseModel) -> None:
    assert continue_prompts(tiny_base.model, [], new_tokens=6, end_ids=NO_END) == []
