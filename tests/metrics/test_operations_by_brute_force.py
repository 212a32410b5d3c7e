"""Law: operations of a layer equal a count in Python loops over samples, outputs and weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from brute_force import count
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from microglia.metrics import count_operations
from microglia.metrics.synapses import fan_out

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 4), (7,)),
    "linear without bias": (lambda: sj.Linear(5, 3, bias=False), (5,)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (2, 6)),
    "conv1d strided, dilated": (
        lambda: nn.Conv1d(3, 2, 3, stride=2, padding=2, dilation=2),
        (3, 9),
    ),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), (2, 5, 4)),
    "conv2d padded": (lambda: sj.Conv2d(2, 3, 3, padding=1), (2, 4, 5)),
    "conv2d strided past the border": (lambda: nn.Conv2d(2, 2, 3, stride=2), (2, 6, 5)),
    "conv2d uneven": (
        lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        (2, 5, 6),
    ),
    "conv2d grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 4, 4)),
    "conv2d depthwise": (lambda: nn.Conv2d(3, 3, 3, padding=1, groups=3), (3, 4, 4)),
    "conv2d depthwise, multiplied": (lambda: nn.Conv2d(2, 6, 3, stride=2, groups=2), (2, 5, 5)),
    "conv2d pointwise": (lambda: nn.Conv2d(4, 3, 1), (4, 3, 3)),
    "conv2d same": (lambda: nn.Conv2d(2, 2, (4, 3), padding="same", dilation=(1, 2)), (2, 5, 5)),
    "conv2d valid": (lambda: nn.Conv2d(2, 2, 2, padding="valid"), (2, 4, 4)),
    "conv2d circular": (lambda: nn.Conv2d(2, 2, 3, padding=2, padding_mode="circular"), (2, 4, 4)),
    "conv2d reflect": (lambda: nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect"), (2, 4, 5)),
    "conv2d replicate": (
        lambda: nn.Conv2d(2, 2, 3, padding="same", padding_mode="replicate"),
        (2, 4, 4),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, stride=(1, 2, 1), padding=(1, 0, 1)), (2, 3, 4, 3)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1), (2, 5)),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
        (2, 4, 3),
    ),
    "transposed 2d grouped, dilated": (
        lambda: nn.ConvTranspose2d(4, 2, 3, padding=2, dilation=2, groups=2),
        (4, 4, 4),
    ),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 1, 2, stride=2, padding=1), (2, 3, 2, 3)),
}

INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "binary": lambda u: (u < 0.4).float(),
    "graded": lambda u: torch.where(u < 0.4, 0.0, u - 0.7),
    "SEW sums 0, 1, 2": lambda u: (u * 3).floor(),
    "silent": torch.zeros_like,
    "integers": lambda u: (u * 3).long().float(),
}


class OneLayer(nn.Module):
    """The layer on every timestep of [N, T, C, *space], its outputs summed into two classes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.transpose(0, 1).flatten(0, 1)).flatten(1)
        return y.reshape(x.shape[1], len(x), -1).mean(0)


def masked(layer: nn.Module, *, kept: float, generator: torch.Generator) -> nn.Module:
    with torch.no_grad():
        mask = torch.rand(layer.weight.shape, generator=generator) < kept
        layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator).add(0.1) * mask)
    return layer


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("values", INPUTS)
def test_one_layer(name: str, values: str) -> None:
    make, shape = LAYERS[name]
    for seed, (T, kept) in enumerate([(1, 1.0), (3, 0.5)]):
        generator = torch.Generator().manual_seed(seed)
        layer = masked(make(), kept=kept, generator=generator)
        n = 2
        x = INPUTS[values](torch.rand(n, T, *shape, generator=generator))
        labels = torch.zeros(n, dtype=torch.long)

        operations = count_operations(OneLayer(layer), [(x, labels)], T=T)

        want = count(layer, x.flatten(0, 1)).of_a_layer()
        (got,) = operations.layers
        executed = got.repeats if operations.static_input else 1
        assert got.accumulates * executed * n == want.accumulates
        assert got.multiply_accumulates * executed * n == want.multiply_accumulates
        assert got.synapses * n * T == want.connections


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", [name for name in LAYERS if "transposed" not in name])
def test_outputs_that_nobody_sees_are_left_out(name: str) -> None:
    """A layer's connections are those to what is seen, and those to what isn't."""
    make, shape = LAYERS[name]
    generator = torch.Generator().manual_seed(3)
    layer = masked(make(), kept=0.6, generator=generator)
    y = layer(torch.rand(1, *shape))[0]
    spaces = torch.Size(shape[1:]), y.shape[1:]
    seen = torch.rand(y.shape, generator=generator) < 0.5
    alone = torch.zeros_like(seen).flatten()
    alone[0] = True
    alone = alone.reshape(seen.shape)
    whole = fan_out(layer, *spaces)
    assert torch.equal(fan_out(layer, *spaces, seen) + fan_out(layer, *spaces, ~seen), whole)
    one = fan_out(layer, *spaces, alone)
    x = torch.rand(1, *shape).requires_grad_()
    layer(x)[0].flatten()[0].backward()
    assert torch.equal(one > 0, x.grad[0] != 0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_dense_macs_count_the_padding(name: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make(), torch.rand(1, 1, *shape)
    y = layer(x.flatten(0, 1))
    operations = count_operations(OneLayer(layer), [(x, torch.zeros(1, dtype=torch.long))], T=1)

    fan = layer.weight[0].numel()
    outputs_or_inputs = x if "transposed" in name else y
    assert operations.once.macs == fan * outputs_or_inputs.numel()


def test_a_weight_of_zero_and_an_input_of_zero_cost_nothing() -> None:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, -2.0, 0.0], [0.0, 0.0, 3.0, -0.0]]))
    x = torch.tensor([[[1.0, 1.0, 1.0, 1.0]], [[0.0, 5.0, 0.5, 0.0]]])
    (got,) = count_operations(OneLayer(layer), [(x, torch.zeros(2).long())], T=1).layers

    assert got.synapses == 3
    assert (got.accumulates, got.multiply_accumulates) == (0, 5 / 2)  # 5 and 0.5 are graded
    assert got.macs == 8


def test_a_sample_counts_the_same_in_any_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    model = OneLayer(masked(nn.Conv2d(2, 3, 3, padding=1), kept=0.5, generator=generator))
    x = INPUTS["SEW sums 0, 1, 2"](torch.rand(6, 2, 2, 4, 4, generator=generator))
    labels = torch.zeros(6, dtype=torch.long)

    whole = count_operations(model, [(x, labels)], T=2)
    parts = count_operations(model, [(x[:1], labels[:1]), (x[1:], labels[1:])], T=2)
    assert whole == parts
