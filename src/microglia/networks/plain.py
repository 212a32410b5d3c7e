"""Plain chains: 3x3 convolutions in stages, each closed by a pooling, then linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from microglia.networks.blocks import (
    ConvBlock,
    LinearBlock,
    Network,
    as_sequence,
    initialise,
    pooled,
)
from microglia.networks.layers import BN, Neuron, Norm, average_pool, linear, max_pool, scaled


@dataclass(frozen=True)
class Plan:
    """What a chain is made of; channels are those at full width."""

    stages: tuple[tuple[int, ...], ...]
    """The channels of each stage's convolutions. A stage ends with 2x2 pooling."""
    pool: Literal["average", "max"]
    hidden: tuple[int, ...] = ()
    """Features of the hidden linear layers."""
    neuron: str = "lif"
    size: int = 32
    """Side of the images that it is usually given."""
    open_end: bool = False
    """Whether the last stage has no pooling."""
    paper_weights: bool = False
    """Whether first weights are as in SCA's released code; else as PyTorch draws them."""


PLANS = {
    # SCA's DVS-CIFAR10 experiments (Li et al., ICML 2024).
    "conv5": Plan(((64,), (128,), (128,), (256,), (256,)), "average"),
    # For 8x8 images.
    "digits": Plan(((32, 64), (64,)), "average", size=8),
    # PCA-based pruning (Chowdhury et al., 2021): channels as published, where its poolings stand
    # isn't said. It has no norms and gets Poisson input: norm="none" isn't offered, the encoder is.
    "vgg9": Plan(((64, 128), (128, 256), (256, 512), (512, 512)), "average"),
    "vgg11": Plan(
        ((64,), (128,), (256, 256), (512, 512), (512, 512)), "max", neuron="if", paper_weights=True
    ),
    # SCA and its released code: 15,250,378 parameters for CIFAR-10, 15,296,548 for CIFAR-100, of
    # whose channels the convolutions hold 4,224.
    "vgg16": Plan(
        ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
        "max",
        hidden=(512, 512),
        neuron="if",
        paper_weights=True,
    ),
    # Grad R, STDS, Deep R, UPR: 256 channels everywhere. Their 100 outputs vote in tens, which a
    # linear read-out of 10 says as well.
    "6conv2fc": Plan(((256, 256, 256), (256, 256, 256)), "max", hidden=(2048,)),
    # ADMM (Deng et al., 2021); widths are a reconstruction, only the layers' number is published.
    "7conv2fc": Plan(
        ((128, 256), (512, 512), (1024, 512, 512)), "average", hidden=(1024,), open_end=True
    ),
    # TET and STDS on CIFAR10-DVS, 48x48.
    "vggsnn": Plan(((64, 128), (256, 256), (512, 512), (512, 512)), "average", size=48),
}


class Plain(Network):
    """Blocks of convolution, norm and spiking neuron, hidden blocks of linear layer, norm and
    neuron, a linear read-out, as a `Plan` has it.

    Takes images [N, channels, size, size] or sequences [T, N, channels, size, size]; returns logits
    [N, classes]. Raises ConfigError where ``size`` is too small for the poolings.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        classes: int,
        channels: int = 3,
        T: int = 4,
        size: int | None = None,
        width: float = 1.0,
        neuron: Neuron | None = None,
        norm: Norm = BN,
    ) -> None:
        super().__init__()
        self.T = T
        cell = neuron or Neuron(plan.neuron)
        new_pool = max_pool if plan.pool == "max" else average_pool
        self.blocks = nn.ModuleList()
        inputs = channels
        for place, stage in enumerate(plan.stages, start=1):
            for last, outputs in zip(
                [False] * (len(stage) - 1) + [True], (scaled(c, width) for c in stage), strict=True
            ):
                closes = last and not (plan.open_end and place == len(plan.stages))
                pool = new_pool() if closes else None
                self.blocks.append(ConvBlock(inputs, outputs, neuron=cell, norm=norm, pool=pool))
                inputs = outputs
        side = pooled(size or plan.size, times=len(plan.stages) - plan.open_end)
        features = inputs * side * side
        self.hidden = nn.ModuleList()
        for outputs in (scaled(h, width) for h in plan.hidden):
            self.hidden.append(LinearBlock(features, outputs, neuron=cell, norm=norm))
            features = outputs
        self.readout = linear(features, classes)
        if plan.paper_weights:
            initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        for block in self.blocks:
            x = block(x, steps)
        x = x.flatten(2)
        for block in self.hidden:
            x = block(x)
        return self.answer(cast(Tensor, self.readout(x)))
