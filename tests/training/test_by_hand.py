"""Each formula of `app/training/by_hand/README.md`, forward and backward, against autograd in fp64.

By hand everything runs in fp32 here; the whole decoder is compared with the models' own in
`test_stack.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.training import head
from app.training.by_hand import attention, blocks, projections
from app.training.by_hand.attention import Heads
from app.training.by_hand.blocks import Block
from app.training.by_hand.packing import Packing, pack_rows
from app.training.by_hand.projections import Adapter, Layer, Projection

N, H, INNER, RANK = 14, 24, 40, 3
HEADS = Heads(heads=6, kv_heads=2, head_dim=4)
EVERY_ROW = slice(0, N)


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(11)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in float64, as a leaf of autograd."""
    return tensor.detach().double().requires_grad_()


def assert_same(found: torch.Tensor, expected: torch.Tensor | None) -> None:
    """To fp32's precision: against the largest value, which is what its sums round to."""
    assert expected is not None
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found.double(), expected.detach(), rtol=0, atol=1e-5 * largest)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight.double(), eps)


def make_projection(
    widths: Sequence[int], inputs: int, *, adapted: Sequence[bool] = (), bias: bool = False
) -> Projection:
    """Layers side by side; all have an adapter unless told otherwise."""
    layers, start = [], 0
    for place, width in enumerate(widths):
        has_adapter = adapted[place] if adapted else True
        adapter = Adapter(
            a=nn.Parameter(torch.randn(RANK, inputs) / inputs**0.5),
            b=nn.Parameter(torch.randn(width, RANK) / RANK**0.5),
            scale=2.0,
        )
        layers.append(
            Layer(
                weight=torch.randn(width, inputs) / inputs**0.5,
                bias=torch.randn(width) if bias else None,
                columns=slice(start, start + width),
                adapter=adapter if has_adapter else None,
            )
        )
        start += width
    return Projection(layers=tuple(layers))


def linear(part: Projection, h: torch.Tensor, leaves: list[torch.Tensor]) -> torch.Tensor:
    """`W0 h + b + (alpha / r) B A h` as a reader would write it; A and B go into `leaves`."""
    outputs = []
    for layer in part.layers:
        y = h @ layer.weight.double().T
        if layer.bias is not None:
            y = y + layer.bias.double()
        if layer.adapter is not None:
            a, b = wide(layer.adapter.a), wide(layer.adapter.b)
            leaves += [a, b]
            y = y + layer.adapter.scale * (h @ a.T @ b.T)
        outputs.append(y)
    return torch.cat(outputs, dim=-1)


def make_block() -> Block:
    return Block(
        norm1=torch.rand(H) + 0.5,
        norm2=torch.rand(H) + 0.5,
        eps=1e-5,
        qkv=make_projection((24, 8, 8), H, bias=True),
        o=make_projection((H,), HEADS.q_width),
        gate_up=make_projection((INNER, INNER), H),
        down=make_projection((H,), INNER),
        heads=HEADS,
    )


def make_rope(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    angles = positions.float().unsqueeze(1) / torch.tensor([[1.0, 50.0]])
    both = torch.cat((angles, angles), dim=1).unsqueeze(1)
    return both.cos(), both.sin()


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Pairs (x_i, x_{i + D/2}) as complex numbers, turned by their angle."""
    first, second = x.chunk(2, dim=-1)
    c, s = cos.double().chunk(2, dim=-1)[0], sin.double().chunk(2, dim=-1)[0]
    return torch.cat((first * c - second * s, second * c + first * s), dim=-1)


def test_rms_norm() -> None:
    x, weight, dy = torch.randn(N, H), torch.randn(H), torch.randn(N, H)
    y, scale = blocks.norm(x, weight, 1e-5)
    own = wide(x)
    expected = rms_norm(own, weight, 1e-5)
    torch.autograd.backward(expected, dy.double())
    assert_same(y, expected)
    assert_same(blocks.norm_backward(dy, x, weight, scale), own.grad)


def test_rotary_embedding() -> None:
    width = (HEADS.heads + 2 * HEADS.kv_heads) * HEADS.head_dim
    qkv, d_out = torch.randn(N, width), torch.randn(N, width)
    cos, sin = make_rope(torch.arange(N))
    own = wide(qkv)
    qk_width = (HEADS.heads + HEADS.kv_heads) * HEADS.head_dim
    split = own[:, :qk_width].view(N, -1, HEADS.head_dim)
    expected = torch.cat((turned(split, cos, sin).flatten(1), own[:, qk_width:]), dim=1)
    torch.autograd.backward(expected, d_out.double())
    attention.rotate(qkv, HEADS, cos, sin)
    assert_same(qkv, expected)
    attention.rotate(d_out, HEADS, cos, -sin)
    assert_same(d_out, own.grad)


@pytest.mark.parametrize("adapted", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("has_residual", [True, False])
def test_projection(*, adapted: tuple[bool, bool], bias: bool, has_residual: bool) -> None:
    part = make_projection((10, 6), H, adapted=adapted, bias=bias)
    if has_residual:  # only ever asked of a layer that stands alone
        part = Projection(layers=part.layers[:1])
    h, dy = torch.randn(N, H), torch.randn(N, part.width)
    residual = torch.randn(N, part.width) if has_residual else None
    adapters = projections.narrow(part, torch.float32)
    out = torch.empty(N, part.width)
    down = torch.empty(N, part.rank) if part.rank else None
    projections.project(part, adapters, h, out=out, down=down, residual=residual)
    dh, gradients = projections.project_backward(part, adapters, dy, h, down)

    own, leaves = wide(h), list[torch.Tensor]()
    expected = linear(part, own, leaves)
    if residual is not None:
        expected = expected + residual.double()
    torch.autograd.backward(expected, dy.double())
    assert_same(out, expected)
    assert_same(dh, own.grad)
    assert len(gradients) == len(leaves)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert gradient.dtype == torch.float32
        assert_same(gradient, leaf.grad)


def attended(qkv: torch.Tensor, packing: Packing, lengths: Sequence[int]) -> torch.Tensor:
    """Attention (N, heads * D), each row by itself and whole: the prefix is read again for each."""
    out = torch.zeros(len(qkv), HEADS.q_width, dtype=torch.float64)
    starts = packing.starts.tolist()
    for start, length in zip(starts, lengths, strict=True):
        positions = torch.arange(length)
        places = torch.where(positions < packing.prefix, positions, start + positions)
        q, k, v = torch.split(qkv[places], [HEADS.q_width, 8, 8], dim=1)
        rows = functional.scaled_dot_product_attention(
            q.view(length, HEADS.heads, -1).transpose(0, 1),
            k.view(length, HEADS.kv_heads, -1).transpose(0, 1).repeat_interleave(3, dim=0),
            v.view(length, HEADS.kv_heads, -1).transpose(0, 1).repeat_interleave(3, dim=0),
            is_causal=True,
        )
        rest = places[packing.prefix :]
        whole = rows.transpose(0, 1).flatten(1)
        out = out.index_add(0, rest, whole[packing.prefix :])
        if start == starts[0] and packing.prefix:  # the same in every row
            out = out.index_add(0, places[: packing.prefix], whole[: packing.prefix])
    return out


@pytest.mark.parametrize("prefix", [0, 5])
def test_grouped_causal_attention_behind_a_shared_prefix(prefix: int) -> None:
    lengths = (12, 9, 17)
    shared = torch.arange(prefix)
    rows = [
        torch.cat((shared, torch.randint(100 * i, 100 * i + 50, (length - prefix,))))
        for i, length in enumerate(lengths, start=1)
    ]
    packing = pack_rows(rows, multiple=1)
    assert packing.prefix == prefix
    tokens = len(packing.input_ids)
    qkv, d_out = torch.randn(tokens, 40), torch.randn(tokens, HEADS.q_width)
    segments = attention.segments_of(packing, HEADS, torch.float32)
    out, d_qkv = torch.empty(tokens, HEADS.q_width), torch.empty_like(qkv)
    attention.attend(qkv, HEADS, segments, out=out)
    ahead = attention.attend_backward(d_out, qkv, HEADS, segments, d_qkv=d_qkv)
    if ahead is not None:
        d_qkv[:prefix, HEADS.q_width :] += ahead

    own = wide(qkv)
    expected = attended(own, packing, lengths)
    torch.autograd.backward(expected, d_out.double())
    assert_same(out, expected)
    assert_same(d_qkv, own.grad)


def test_entrance_of_a_block() -> None:
    block, rope = make_block(), make_rope(torch.arange(N))
    x, d_qkv, dx = torch.randn(N, H), torch.randn(N, 40), torch.randn(N, H)
    kept = blocks.prepare(block, x, torch.empty(N, HEADS.q_width))
    blocks.enter(block, kept, rope, EVERY_ROW)
    qkv = kept.qkv.clone()

    own, leaves = wide(x), list[torch.Tensor]()
    made = linear(block.qkv, rms_norm(own, block.norm1, block.eps), leaves)
    qk, v = torch.split(made, [32, 8], dim=1)
    qk = turned(qk.view(N, 8, 4), *rope).flatten(1)
    expected = torch.cat((qk, v), dim=1)
    # What comes down past the entrance, on the residual's way, is added to.
    torch.autograd.backward((expected, own * dx.double()), (d_qkv.double(), torch.ones(N, H)))
    gradients = blocks.enter_backward(
        block, kept, rope, dx, d_qkv.clone(), EVERY_ROW, needs_input=True
    )
    assert_same(qkv, expected)
    assert_same(dx, own.grad)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert_same(gradient, leaf.grad)


def test_exit_of_a_block_with_its_swiglu() -> None:
    block = make_block()
    x, o, dy = torch.randn(N, H), torch.randn(N, HEADS.q_width), torch.randn(N, H)
    kept = blocks.prepare(block, x, torch.empty(N, HEADS.q_width))
    kept.o.copy_(o)
    out = torch.empty(N, H)
    blocks.leave(block, kept, out, EVERY_ROW)

    residual, own, leaves = wide(x), wide(o), list[torch.Tensor]()
    middle = residual + linear(block.o, own, leaves)
    gate_up = linear(block.gate_up, rms_norm(middle, block.norm2, block.eps), leaves)
    gate, up = gate_up.chunk(2, dim=1)
    expected = middle + linear(block.down, gate * torch.sigmoid(gate) * up, leaves)
    torch.autograd.backward(expected, dy.double())
    d_o = torch.empty(N, HEADS.q_width)
    gradients = blocks.leave_backward(block, kept, dy, d_o, EVERY_ROW)
    assert_same(out, expected)
    assert_same(d_o, own.grad)
    assert_same(dy, residual.grad)
    assert len(gradients) == len(leaves)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert_same(gradient, leaf.grad)


TOKENS, VOCABULARY = head.CHUNK_TOKENS + 9, 50
"""More than a chunk, and not a multiple of anything."""


def test_cross_entropy_of_the_output_layer() -> None:
    hidden, weight = torch.randn(TOKENS, H), torch.randn(VOCABULARY, H)
    labels, weights = torch.randint(VOCABULARY, (TOKENS,)), torch.rand(TOKENS)
    gradient = torch.empty_like(hidden)
    nll = head.cross_entropy(hidden, weight, None, labels, weights, gradient=gradient)
    own = wide(hidden)
    expected = functional.cross_entropy(own @ weight.double().T, labels, reduction="none")
    torch.autograd.backward((expected * weights.double()).sum())
    assert_same(nll, expected)
    assert_same(gradient, own.grad)


def test_divergence_from_the_base() -> None:
    hidden, weight = torch.randn(TOKENS, H), torch.randn(VOCABULARY, H) / H**0.5
    base, weights = torch.randn(TOKENS, H), torch.rand(TOKENS)
    gradient = torch.empty_like(hidden)
    kl = head.divergence(hidden, base, weight, None, weights, gradient=gradient)
    own = wide(hidden)
    log_q = torch.log_softmax(own @ weight.double().T, dim=1)
    log_p = torch.log_softmax(base.double() @ weight.double().T, dim=1)
    expected = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    torch.autograd.backward((expected * weights.double()).sum())
    assert_same(kl, expected)
    assert_same(gradient, own.grad)


def test_page_names_only_what_is_there() -> None:
    folder = Path(blocks.__file__).parent
    named = set(re.findall(r"`([\w./]+)`", (folder / "README.md").read_text("utf-8")))
    files = {name for name in named if "/" in name or name.endswith(".py")}
    root = folder.parents[2]
    assert len(files) > 8
    for name in files:
        assert (folder / name).exists() or (root / name).exists(), name
    sources = "\n".join(
        path.read_text("utf-8")
        for path in (*folder.parent.glob("*.py"), *folder.glob("*.py"), *root.glob("tests/*/*.py"))
    )
    for name in (name for name in named - files if "_" in name or len(name) > 4):
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", sources), name
