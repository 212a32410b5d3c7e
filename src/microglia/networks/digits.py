"""A small convolutional network for 8x8 digits: 32C3-64C3-AP2-64C3-AP2-FC."""

from typing import cast

from torch import Tensor, nn

from microglia.networks.blocks import ConvBlock, Network, as_sequence, pooled
from microglia.networks.layers import LIF, Neuron, average_pool, linear, scaled

CHANNELS = (32, 64, 64)


class Digits(Network):
    """Three blocks of 3x3 convolution, batch norm and spiking neuron, the last two followed by 2x2
    average pooling, then a linear read-out.

    Takes images [N, channels, size, size] or sequences [T, N, channels, size, size]; returns logits
    [N, classes]. Raises ConfigError where ``size`` is below 4.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        channels: int = 1,
        T: int = 4,
        size: int = 8,
        width: float = 1.0,
        neuron: Neuron = LIF,
    ) -> None:
        super().__init__()
        self.T = T
        first, second, third = (scaled(c, width) for c in CHANNELS)
        self.blocks = nn.ModuleList(
            [
                ConvBlock(channels, first, neuron=neuron),
                ConvBlock(first, second, neuron=neuron, pool=average_pool()),
                ConvBlock(second, third, neuron=neuron, pool=average_pool()),
            ]
        )
        side = pooled(size, times=2)
        self.readout = linear(third * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        for block in self.blocks:
            x = block(x, steps)
        return cast(Tensor, self.readout(x.flatten(2)).mean(0))
