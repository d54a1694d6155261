"""Batches: order, padding, weights."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from app.training.batches import (
    WEIGHT_LIMITS,
    WINDOW_BATCHES,
    like_length_batches,
    loss_weights,
    pad_batch,
    split_by_tokens,
)
from app.training.examples import TrainingExample


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def example(length: int, *, salience: float = 0.5) -> TrainingExample:
    ids = torch.arange(1, length + 1)
    return TrainingExample(
        input_ids=ids,
        labels=ids.clone(),
        attention_mask=torch.ones_like(ids),
        salience=salience,
        salience_breakdown={},
        experience_id=str(length),
        session=None,
        phase=None,
    )


@given(
    lengths=st.lists(st.integers(1, 900), max_size=200),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_every_example_is_in_exactly_one_batch(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    batches = like_length_batches(lengths, batch_size=batch_size, order=seeded(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(lengths) // batch_size)


@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=200), seed=st.integers(0, 99))
def test_no_example_leaves_its_window_of_the_salience_order(lengths: list[int], seed: int) -> None:
    batches = like_length_batches(lengths, batch_size=4, order=seeded(seed))
    for position, batch in enumerate(batches):
        assert {i // (4 * WINDOW_BATCHES) for i in batch} == {position // WINDOW_BATCHES}


def test_batches_hold_like_lengths() -> None:
    source = seeded(1)
    lengths = [source.randint(80, 400) for _ in range(256)]
    batches = like_length_batches(lengths, batch_size=4, order=seeded(0))
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)


def test_padding_stands_on_the_right() -> None:
    batch = pad_batch([example(3, salience=0.25), example(5)], pad_token_id=77)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 77, 77], [1, 2, 3, 4, 5]]
    assert batch["labels"].tolist()[0] == [1, 2, 3, -100, -100]
    assert batch["attention_mask"].tolist()[0] == [1, 1, 1, 0, 0]
    assert batch["salience"].tolist() == [0.25, 0.5]


@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=16), limit=st.integers(1, 2000))
def test_parts_of_a_batch_stay_within_the_limit(lengths: list[int], limit: int) -> None:
    parts = split_by_tokens(lengths, limit)
    assert [i for part in parts for i in part] == list(range(len(lengths)))
    assert all(len(p) == 1 or len(p) * max(lengths[i] for i in p) <= limit for p in parts)


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=16))
def test_weights_stay_within_their_limits(values: list[float]) -> None:
    weights = loss_weights(torch.tensor(values))
    low, high = WEIGHT_LIMITS
    assert bool(((weights >= low) & (weights <= high)).all())


def test_equal_salience_weighs_one() -> None:
    assert loss_weights(torch.tensor([0.3, 0.3, 0.3])).tolist() == [1.0, 1.0, 1.0]
    assert loss_weights(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_more_salient_weighs_more() -> None:
    weights = loss_weights(torch.tensor([0.5, 0.6]))
    assert torch.allclose(weights, torch.tensor([0.5, 0.6]) / 0.55)
