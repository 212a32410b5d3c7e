"""Small networks for the tests of the metrics: one architecture, written in several ways."""

from __future__ import annotations

from collections.abc import Iterator

import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from microglia.frameworks import register_neuron

Batches = list[tuple[Tensor, Tensor]]


def batches(*, seed: int, sizes: tuple[int, ...] = (5, 3), shape: tuple[int, ...]) -> Batches:
    """Analog inputs, a third of them exactly 0 and a few exactly 1, with labels of 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for n in sizes:
        x = (torch.rand(n, *shape, generator=generator) * 32).round() / 32
        x = torch.where(x < 0.3, 0.0, torch.where(x > 0.9, 1.0, x))
        made.append((x, torch.randint(3, (n,), generator=generator)))
    return made


class PlainLIF(nn.Module):
    """A user's own neuron: V ← V/2 + X, fires at 1, hard reset to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.h: Tensor | None = None
        self.v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.h = x if self.v is None else self.v / 2 + x
        spikes = (self.h >= 1).to(x.dtype)
        self.v = self.h * (1 - spikes)
        return spikes

    def reset(self) -> None:
        self.h = self.v = None


register_neuron(PlainLIF, membrane="h")


class TwoConvs(nn.Module):
    """conv-norm-neuron, pool, conv-norm-neuron, linear; the image goes in at all T timesteps.

    `way`: "multi" runs [T, N, ...] through every layer, "single" loops over time, "once" runs
    the first convolution and norm on [N, ...] and repeats their output.
    """

    def __init__(self, way: str, *, T: int, pool: type[nn.Module] = layer.AvgPool2d) -> None:
        super().__init__()
        self.way, self.T = way, T
        self.conv1 = layer.Conv2d(2, 4, 3, padding=1)
        self.bn1 = layer.BatchNorm2d(4)
        self.lif1 = neuron.LIFNode(decay_input=False, v_threshold=0.5)
        self.pool = pool(2)
        self.conv2 = layer.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
        self.bn2 = layer.BatchNorm2d(6)
        self.lif2 = neuron.LIFNode(decay_input=False, v_threshold=0.5)
        self.flatten = layer.Flatten()
        self.fc = layer.Linear(6 * 2 * 2, 3)
        functional.set_step_mode(self, "s" if way == "single" else "m")
        if way == "once":
            self.conv1.step_mode = self.bn1.step_mode = "s"

    def tail(self, x: Tensor) -> Tensor:
        x = self.pool(self.lif1(x))
        return self.fc(self.flatten(self.lif2(self.bn2(self.conv2(x)))))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, 3] of images [N, 2, 8, 8] or of sequences [T, N, 2, 8, 8]."""
        if self.way == "once":
            x = self.bn1(self.conv1(x))
            return self.tail(x.expand(self.T, *x.shape)).mean(0)
        if x.dim() == 4:
            x = x.expand(self.T, *x.shape)
        if self.way == "multi":
            return self.tail(self.bn1(self.conv1(x))).mean(0)
        return torch.stack([self.tail(self.bn1(self.conv1(x_t))) for x_t in x]).mean(0)


class PlainNet(nn.Module):
    """Plain PyTorch with a registered neuron; a loop over time around two linear layers."""

    def __init__(self, *, T: int) -> None:
        super().__init__()
        self.T = T
        self.fc1, self.lif, self.fc2 = nn.Linear(6, 5), PlainLIF(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.fc2(self.lif(self.fc1(x))) for _ in range(self.T)]).mean(0)


class SnnTorchNet(nn.Module):
    """snnTorch: neurons return (spikes, membrane), one of them recurrent."""

    def __init__(self, *, T: int) -> None:
        super().__init__()
        self.T = T
        self.fc1 = nn.Linear(6, 5)
        self.lif1 = snntorch.RLeaky(beta=0.5, linear_features=5, init_hidden=True)
        self.fc2 = nn.Linear(5, 3)
        self.lif2 = snntorch.Leaky(beta=0.5, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> Tensor:
        membranes = [self.lif2(self.fc2(self.lif1(self.fc1(x))))[1] for _ in range(self.T)]
        return torch.stack(membranes).mean(0)


def excite(model: nn.Module, *, seed: int, kept: float = 0.6) -> nn.Module:
    """Seeded weights, large enough for spikes, a part of them exactly 0; norms that matter.

    Weights and inputs are dyadic, so that sums are exact in any order and no spike can flip.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                weight = torch.randn(module.weight.shape, generator=generator)
                mask = torch.rand(module.weight.shape, generator=generator) < kept
                module.weight.copy_((weight * mask * 8).round() / 8)
                if module.bias is not None:
                    module.bias.fill_(0.125)
            elif isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(
                    0.2 * torch.randn(module.num_features, generator=generator)
                )
    return model


def networks(*, seed: int) -> Iterator[tuple[nn.Module, Batches, int]]:
    """(network, batches, T) over the frameworks and ways of writing."""
    for T in (1, 3):
        images = batches(seed=seed, shape=(2, 8, 8))
        for way in ("multi", "single", "once") if T > 1 else ("multi",):
            yield excite(TwoConvs(way, T=T), seed=seed), images, T
        vectors = batches(seed=seed, shape=(6,))
        yield excite(PlainNet(T=T), seed=seed), vectors, T
        yield excite(SnnTorchNet(T=T), seed=seed), vectors, T
