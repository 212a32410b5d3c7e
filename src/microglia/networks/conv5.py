"""The 5-conv network: 64C3-AP2-128C3-AP2-128C3-AP2-256C3-AP2-256C3-AP2-FC."""

from typing import cast

from torch import Tensor, nn

from microglia.networks.blocks import ConvBlock, Network, as_sequence, pooled
from microglia.networks.layers import LIF, Neuron, average_pool, linear, scaled

CHANNELS = (64, 128, 128, 256, 256)


class Conv5(Network):
    """Five blocks of 3x3 convolution, batch norm, spiking neuron and 2x2 average pooling, then a
    linear read-out.

    Takes images [N, channels, size, size] or event frames [T, N, channels, size, size]; returns
    logits [N, classes]. Raises ConfigError where ``size`` is below 32.
    Source: the network of SCA's DVS-CIFAR10 experiments (Li et al., ICML 2024).
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        T: int = 4,
        size: int = 32,
        width: float = 1.0,
        neuron: Neuron = LIF,
    ) -> None:
        super().__init__()
        self.T = T
        widths = [scaled(c, width) for c in CHANNELS]
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, neuron=neuron, pool=average_pool())
            for before, after in zip([channels, *widths], widths, strict=False)
        )
        side = pooled(size, times=len(widths))
        self.readout = linear(widths[-1] * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        for block in self.blocks:
            x = block(x, steps)
        return cast(Tensor, self.readout(x.flatten(2)).mean(0))
