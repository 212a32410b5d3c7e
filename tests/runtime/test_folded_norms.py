"""A norm is folded where that is certain, and left alone wherever somebody else would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comparing import norms, outputs, reference
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from microglia.runtime import accelerate
from zoo import drive, make


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("chain", 0),
        ("chain, single-step", 0),
        ("chain, own neuron", 0),
        ("threshold-dependent norm", 0),
        ("temporal-effective norm", 2),  # they scale each timestep differently
        ("pre-activation", 3 + 1),  # the first norm of each block, and the last, read the stream
        ("concatenation, groups", 1),  # it reads two layers
        ("decoder", 0),
        ("dense", 0),
        ("snnTorch", 0),
        ("snnTorch, hidden inside", 0),
        ("plain PyTorch, shared", 1),  # the convolution is used without the norm too
        ("SEW-ResNet", 0),
        ("spiking ResNet", 0),
    ],
)
def test_norms_of_the_zoo(name: str, left: int) -> None:
    model, x = make(name)
    assert norms(model) > 0
    assert norms(accelerate(model, example_input=x)) == left


class Pair(nn.Module):
    """A convolution and its norm, which every network below uses in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Any:
        return self.norm(self.conv(x))


class OutputAddedLater(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class OutputReturned(Pair):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.norm(y), y


class OutputKept(Pair):
    def forward(self, x: Tensor) -> Tensor:
        before = getattr(self, "last", torch.zeros((), dtype=x.dtype))
        self.last = self.conv(x)
        return self.norm(self.last) + before


class NormOfPart(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)[:, :4])


class NormOfTwo(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.norm(self.other(x))


class ConvolutionOfTwo(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.conv(0.5 * x)


class SumNormed(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y + x.mean(1, keepdim=True))


class ChangedInPlace(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).relu_())


class SharedWeight(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Conv2d(3, 8, 3, padding=1)
        self.twin.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.twin(x)


class WeightReadElsewhere(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.conv.weight.norm()


class Standardised(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv = layer.WSConv2d(3, 8, 3, padding=1)


class WithoutItsBias(Pair):
    def __init__(self) -> None:
        super().__init__()

        class Unbiased(nn.Conv2d):
            def forward(self, x: Tensor) -> Tensor:
                return F.conv2d(x, self.weight, padding=self.padding)

        self.conv = Unbiased(3, 8, 3, padding=1, bias=False)


class Parametrised(Pair):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


class HookOnConvolution(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(_double)


class HookOnNorm(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.norm.register_forward_hook(_double)


def _double(module: nn.Module, args: Any, y: Tensor) -> Tensor:
    return 2 * y


class BatchStatistics(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class ScaledNorm(Pair):
    def __init__(self) -> None:
        super().__init__()

        class Scaled(nn.BatchNorm2d):
            def forward(self, x: Tensor) -> Tensor:
                return 0.5 * super().forward(x)

        self.norm = Scaled(8)


class Turned(nn.Module):
    """A norm over the batch axis of a linear layer whose output is square."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Linear(3 * 64, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.flatten(1)).t())


class ByColumns(nn.Module):
    """A square linear layer that multiplies from the other side."""

    def __init__(self) -> None:
        super().__init__()

        class Columns(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return torch.addmm(self.bias, x, self.weight)

        self.conv, self.norm = Columns(192, 192), nn.BatchNorm1d(192)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.flatten(1)))


UNSAFE = [
    OutputAddedLater,
    OutputReturned,
    OutputKept,
    NormOfPart,
    NormOfTwo,
    ConvolutionOfTwo,
    SumNormed,
    ChangedInPlace,
    SharedWeight,
    WeightReadElsewhere,
    Standardised,
    WithoutItsBias,
    Parametrised,
    HookOnConvolution,
    HookOnNorm,
    BatchStatistics,
    ScaledNorm,
    Turned,
    ByColumns,
]


class ListedBesides(Pair):
    """The network reaches its norm through a plain list, and under a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.norm
        self.steps = [self.norm]

    def forward(self, x: Tensor) -> Tensor:
        return self.steps[0](self.conv(x))


class Bare(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding_mode="reflect", padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, affine=False)


class Grouped(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 9, 3, groups=3)
        self.norm = nn.BatchNorm2d(9)


class Volumes(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 8, (1, 3, 3)), nn.BatchNorm3d(8)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(2))


class Lines(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2))


class TwiceOver(Pair):
    """Both run once a timestep, always together."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(0.5 * x)


class Features(Pair):
    """SpikingJelly's norm of features [T, N, C] after its linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layer.Linear(192, 8, bias=False, step_mode="m")
        self.norm = layer.BatchNorm1d(8, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1).repeat(3, 1, 1))


SAFE = [Pair, ListedBesides, Bare, Grouped, Volumes, Lines, TwiceOver, Features]


def prepared(build: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    model = build()
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is not None:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 2.0)
            if norm.affine:
                nn.init.uniform_(norm.weight, -1.5, 1.5)
                nn.init.normal_(norm.bias)
    return model.double(), torch.rand(6, 3, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("build", [*UNSAFE, *SAFE])
def test_the_network_computes_the_same(build: Callable[[], nn.Module], seed: int) -> None:
    model, x = prepared(build, seed)
    slow, fast = reference(model), accelerate(model, example_input=x[:6])
    for y in (x, x.flip(0)):
        for a, b in zip(outputs(slow, y), outputs(fast, y), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("build", "left"), [*((b, 1) for b in UNSAFE), *((b, 0) for b in SAFE)])
def test_what_is_folded(build: Callable[[], nn.Module], left: int) -> None:
    model, x = prepared(build, 0)
    assert norms(accelerate(model, example_input=x)) == left


def test_a_gated_norm_is_not_folded() -> None:
    """The gate of a channel that a residual sum reads stands on the norm's output."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = layer.Conv2d(3, 8, 1), layer.BatchNorm2d(8)
            self.spike = neuron.IFNode()

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x))
            return y + self.spike(y)

    torch.manual_seed(0)
    model = Branch()
    drive(model)
    model, x = model.double(), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    slow, fast = reference(model), accelerate(model, example_input=x)
    assert norms(fast) == 0  # folding is fine, overwriting the current would not be
    torch.testing.assert_close(outputs(slow, x), outputs(fast, x), rtol=0, atol=1e-10)
