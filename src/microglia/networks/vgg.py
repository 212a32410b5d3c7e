"""VGG16 as the SCA paper prunes it."""

from typing import cast

from torch import Tensor, nn

from microglia.networks.blocks import (
    ConvBlock,
    LinearBlock,
    Network,
    as_sequence,
    initialise,
    pooled,
)
from microglia.networks.layers import IF, Neuron, linear, max_pool, scaled

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN = 512


class VGG16(Network):
    """Thirteen blocks of 3x3 convolution, batch norm and spiking neuron in five stages, each closed
    by 2x2 max pooling; two hidden blocks of linear layer, batch norm and neuron; a linear read-out.

    15,250,378 parameters for CIFAR-10, 15,296,548 for CIFAR-100, of whose channels the convolutions
    hold 4,224. Takes images [N, channels, size, size] or sequences [T, N, channels, size, size];
    returns logits [N, classes]. Raises ConfigError where ``size`` is below 32.
    Source: SCA (Li et al., ICML 2024) and its released code, which uses the IF neuron.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        T: int = 4,
        size: int = 32,
        width: float = 1.0,
        neuron: Neuron = IF,
    ) -> None:
        super().__init__()
        self.T = T
        self.blocks = nn.ModuleList()
        inputs = channels
        for stage in STAGES:
            for place, outputs in enumerate((scaled(c, width) for c in stage), start=1):
                pool = max_pool() if place == len(stage) else None
                self.blocks.append(ConvBlock(inputs, outputs, neuron=neuron, pool=pool))
                inputs = outputs
        side = pooled(size, times=len(STAGES))
        hidden = scaled(HIDDEN, width)
        self.hidden1 = LinearBlock(inputs * side * side, hidden, neuron=neuron)
        self.hidden2 = LinearBlock(hidden, hidden, neuron=neuron)
        self.readout = linear(hidden, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        for block in self.blocks:
            x = block(x, steps)
        x = self.hidden2(self.hidden1(x.flatten(2)))
        return cast(Tensor, self.readout(x).mean(0))
