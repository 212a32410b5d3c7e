"""Small classifiers of three frameworks, and batches that they can learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import snntorch
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn

import microglia as mg

CLASSES = 3


class Fire(torch.autograd.Function):
    """Heaviside step with a triangular surrogate gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (1 - x.abs()).clamp(min=0)


class OwnNeuron(nn.Module):
    """A user's own integrate-and-fire neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v * 0.5 + x
        spikes: Tensor = Fire.apply(self.v - 1.0)
        return spikes


mg.register_neuron(OwnNeuron, membrane="v")


class Convolutional(nn.Module):
    """conv-norm-neuron twice, called T times on the same image; logits are the mean over T."""

    def __init__(self, make_neuron: Callable[[], nn.Module], T: int = 2) -> None:
        super().__init__()
        self.T = T
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.fire1 = make_neuron()
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.fire2 = make_neuron()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.1)
        self.readout = nn.Linear(8, CLASSES)

    def step(self, x: Tensor) -> Tensor:
        x = self.fire1(self.norm1(self.conv1(x)))
        x = self.fire2(self.norm2(self.conv2(x)))
        logits: Tensor = self.readout(self.dropout(self.pool(x).flatten(1)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.step(x) for _ in range(self.T)]).mean(0)


class OverTime(Convolutional):
    """The same, returning logits of each timestep, [T, N, classes]."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.step(x) for _ in range(self.T)])


def spikingjelly_network() -> nn.Module:
    return Convolutional(lambda: neuron.LIFNode(surrogate_function=surrogate.ATan()))


def multi_step_network() -> nn.Module:
    class Repeated(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = super().forward(x.unsqueeze(0).repeat(2, 1, 1, 1, 1))
            return logits.mean(0)

    return Repeated(
        layer.Conv2d(1, 8, 3, padding=1, bias=False, step_mode="m"),
        layer.BatchNorm2d(8, step_mode="m"),
        neuron.LIFNode(surrogate_function=surrogate.ATan(), step_mode="m"),
        layer.AdaptiveAvgPool2d(1, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(8, CLASSES, step_mode="m"),
    )


def snntorch_network() -> nn.Module:
    return Convolutional(lambda: snntorch.Leaky(beta=0.5, init_hidden=True))


def own_network() -> nn.Module:
    return Convolutional(OwnNeuron)


NETWORKS = {
    "spikingjelly": spikingjelly_network,
    "multi-step": multi_step_network,
    "snntorch": snntorch_network,
    "own neuron": own_network,
}


class Stripes:
    """Images [N, 1, 6, 6] of horizontal, vertical or no stripes; the last batch is shorter.

    The order depends on the epoch alone, as that of `microglia.data.Batches` does.
    """

    def __init__(self, *, batches: int = 6, size: int = 16, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        count = batches * size - size // 2
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator)
        lines = torch.tensor([2.0, -2.0] * 3)
        patterns = torch.stack([lines[:, None].expand(6, 6), lines.expand(6, 6), torch.zeros(6, 6)])
        noise = torch.randn(count, 1, 6, 6, generator=generator) * 0.3
        self.images = patterns[self.labels].unsqueeze(1) + noise
        self.size, self.epoch = size, 0

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        for rows in order.split(self.size):
            yield self.images[rows], self.labels[rows]
