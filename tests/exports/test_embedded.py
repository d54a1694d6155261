"""The embedded model with a trained adapter says the same in llama.cpp as in PEFT."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.bases import find_base_gguf
from app.domain.export import Export
from app.exports.making import make
from app.exports.merged import Numbers, write_merged_gguf
from tests.exports.llama import Distance, Llama, Table, distance
from tests.exports.taught import REPLY_TOKENS, TAUGHT, Taught, teach

pytestmark = pytest.mark.timeout(1800)  # the first test's: a training in float32


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="module")
def taught(embedded_model: Path, room: Path) -> Taught:
    return teach(embedded_model, room, steps=16, learning_rate=2e-3)


@pytest.fixture(scope="module")
def base(taught: Taught, room: Path) -> tuple[Path, Table]:
    """The base in float32, and what llama.cpp says of it."""
    file = room / "base-f32.gguf"
    write_merged_gguf([], taught.base, file, numbers=Numbers.F32, name="base")
    return file, table(taught, Llama(file))


@pytest.fixture(scope="module")
def adapter(taught: Taught, room: Path) -> Path:
    make(Export.ADAPTER_GGUF, taught.adapter, taught.base, room / "adapter.gguf")
    return room / "adapter.gguf"


def table(taught: Taught, llama: Llama) -> Table:
    return llama.next_tokens(taught.places, vocabulary=taught.bare.shape[1])


def far(taught: Taught, llama: Llama, their_base: Table) -> Distance:
    return distance(taught.adapted, taught.bare, theirs=table(taught, llama), their_base=their_base)


def says_the_same(taught: Taught, llama: Llama) -> list[bool]:
    """For each prompt; the reply of llama.cpp ends where the turn does."""
    replies = [llama.reply(prompt, tokens=REPLY_TOKENS) for prompt in taught.prompts]
    return [
        len(said) > 1 and said == expected[: len(said)]
        for said, expected in zip(replies, taught.replies, strict=True)
    ]


def test_adapter_over_the_base_in_float32(
    taught: Taught, base: tuple[Path, Table], adapter: Path
) -> None:
    llama = Llama(base[0], adapter)
    found = far(taught, llama, base[1])
    assert found.kl < 0.001
    assert found.effect_correlation > 0.9999
    assert all(says_the_same(taught, llama))


def test_adapter_over_the_file_that_the_embedded_model_came_as(
    taught: Taught, adapter: Path
) -> None:
    four_bits = find_base_gguf(taught.base)
    assert four_bits is not None
    bare = table(taught, Llama(four_bits))
    assert far(taught, Llama(four_bits, adapter), bare).effect_correlation > 0.998


@pytest.mark.parametrize(
    ("export", "kl", "correlation"),
    [(Export.MERGED_F16, 0.001, 0.9999), (Export.MERGED_Q8_0, 0.01, 0.999)],
)
def test_merged_model(
    export: Export,
    kl: float,
    correlation: float,
    taught: Taught,
    base: tuple[Path, Table],
    room: Path,
) -> None:
    make(export, taught.adapter, taught.base, room / export)
    llama = Llama(room / export)
    found = far(taught, llama, base[1])
    assert found.kl < kl
    assert found.effect_correlation > correlation
    same = says_the_same(taught, llama)
    assert all(same[: len(TAUGHT)])
    assert export is Export.MERGED_Q8_0 or all(same)
