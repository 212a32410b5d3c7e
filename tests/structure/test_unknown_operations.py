"""What the analysis does not know it names and leaves alone; what is left free cuts rightly."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import zoo
from torch import Tensor, nn

import microglia as mg
from microglia.gates import Gates
from microglia.structure import Structure
from microglia.surgery import certify, cut


class Around(nn.Module):
    """Two spiking convolutions with something between them, then a readout that is known."""

    def __init__(self, between: Callable[[Tensor], Tensor] | nn.Module, *, width: int = 8) -> None:
        super().__init__()
        self.conv1, self.n1 = nn.Conv2d(3, 8, 3, padding=1), zoo.MyNeuron()
        self.between = between
        self.conv2, self.n2 = nn.Conv2d(width, 6, 3, padding=1), zoo.MyNeuron()
        self.conv3, self.n3 = nn.Conv2d(6, 5, 3, padding=1), zoo.MyNeuron()
        self.fc = nn.Linear(5 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self.n1(self.conv1(x)))
        return self.fc(self.n3(self.conv3(self.n2(self.conv2(y)))).flatten(1))


def cumulative(y: Tensor) -> Tensor:
    return y.cumsum(1)


def ordered(y: Tensor) -> Tensor:
    return y.sort(dim=1).values


def softmax(y: Tensor) -> Tensor:
    return y.softmax(1)


def weighted_by_the_rest(y: Tensor) -> Tensor:
    return y * y.mean(1, keepdim=True)


def first_half(y: Tensor) -> Tensor:
    return torch.cat([y[:, :4], y[:, :4]], 1)


def picked(y: Tensor) -> Tensor:
    return y[:, [7, 6, 5, 4, 3, 2, 1, 0]]


def through_fft(y: Tensor) -> Tensor:
    return torch.fft.fft(y, dim=1).real


def over_every_channel(y: Tensor) -> Tensor:
    return y / y.amax((1, 2, 3), keepdim=True).clamp(min=1)


def gram(y: Tensor) -> Tensor:
    flat = y.flatten(2)
    return (flat @ flat.transpose(1, 2) @ flat).reshape(y.shape) * 0.01


UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor] | Callable[[], nn.Module], str]] = {
    "cumsum": (cumulative, "cumsum"),
    "softmax": (softmax, "softmax"),
    "sort": (ordered, "sort"),
    "fft": (through_fft, "fft"),
    "index": (picked, "index"),
    "mean over channels": (weighted_by_the_rest, "mean"),
    "amax over channels": (over_every_channel, "amax"),
    "slice of channels": (first_half, "slice"),
    "attention": (gram, "attention"),
    "GroupNorm": (lambda: nn.GroupNorm(4, 8), "native_group_norm"),
    "LayerNorm": (lambda: nn.LayerNorm([8, 8, 8]), "native_layer_norm"),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(8, affine=True), "instance_norm"),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), "avg_pool3d"),
    "Softmax2d": (lambda: nn.Softmax2d(), "softmax"),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)), "_weight"),
}


@pytest.mark.parametrize("what", UNKNOWN)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_unknown_operation_is_named_and_what_is_left_cuts_rightly(what: str, seed: int) -> None:
    between, op = UNKNOWN[what]
    torch.manual_seed(seed)
    model = Around(between() if isinstance(between, type(lambda: 0)) and what[0].isupper() or
                   what == "weight_norm" else between)
    zoo.drive(model)
    x = torch.rand(2, 3, 8, 8) + 0.2
    structure = mg.analyse(model, x)
    assert op in " ".join(structure.refused) + structure.fixed.get("conv1", ""), str(structure)
    assert "between" in str(structure) or "forward" in str(structure)
    free = {g.name for g in structure.groups}
    assert "conv1" not in free or what in ("InstanceNorm",)
    assert {"conv2", "conv3"} <= free
    cut_and_certify(model, structure, x)


def cut_and_certify(model: nn.Module, structure: Structure, x: object) -> None:
    gates = Gates(model, structure)
    for seed, sparsity in enumerate((0.3, 0.6, 0.9)):
        keep = zoo.random_keep(structure, sparsity, seed)
        gates.set(keep)
        small, _ = cut(model, structure, keep)
        assert certify(model, small, structure, keep, x).spikes > 0
    gates.remove()
