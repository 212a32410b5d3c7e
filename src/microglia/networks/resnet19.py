"""ResNet-19: residual blocks whose neuron follows the sum, as threshold-dependent norms want it."""

from typing import cast

from torch import Tensor, nn

from microglia.networks.blocks import ConvBlock, LinearBlock, Network, as_sequence
from microglia.networks.layers import (
    BN,
    LIF,
    Neuron,
    Norm,
    conv1x1,
    conv3x3,
    global_average_pool,
    linear,
    scaled,
)

STAGES = ((128, 3, 1), (256, 3, 2), (512, 2, 2))  # channels, blocks, stride of the first
HIDDEN = 256
HALVED = 0.5**0.5  # two currents of variance α² each add up to one of variance 1


class ResidualBlock(nn.Module):
    """y = SN2( Norm2(Conv2(SN1(Norm1(Conv1(x))))) + Shortcut(x) ).

    The shortcut is a 1x1 convolution with a norm where width or stride changes, else x itself. The
    norms whose currents are added begin at α = 1/√2 (tdBN).
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, neuron: Neuron, norm: Norm
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride=stride)
        self.norm1 = norm.maps(outputs)
        self.neuron1 = neuron()
        self.conv2 = conv3x3(outputs, outputs)
        self.norm2 = norm.maps(outputs, alpha=HALVED)
        changes = stride != 1 or inputs != outputs
        self.shortcut = (
            nn.Sequential(conv1x1(inputs, outputs, stride=stride), norm.maps(outputs, alpha=HALVED))
            if changes
            else None
        )
        self.neuron2 = neuron()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.conv2(self.neuron1(self.norm1(self.conv1(x)))))
        stream = x if self.shortcut is None else self.shortcut(x)
        return cast(Tensor, self.neuron2(branch + stream))


class ResNet19(Network):
    """A 3x3 stem, three stages of `ResidualBlock`, global average pooling, a hidden linear block of
    256 features, a linear read-out.

    Takes images [N, channels, H, W] or sequences [T, N, channels, H, W] of any size; returns logits
    [N, classes].
    Source: Zheng et al., "Going Deeper With Directly-Trained Larger Spiking Neural Networks", AAAI
    2021; pruned by LTH (Kim et al., ECCV 2022) and ESL.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        T: int = 4,
        width: float = 1.0,
        neuron: Neuron = LIF,
        norm: Norm = BN,
    ) -> None:
        super().__init__()
        self.T = T
        inputs = scaled(STAGES[0][0], width)
        self.stem = ConvBlock(channels, inputs, neuron=neuron, norm=norm)
        self.blocks = nn.ModuleList()
        for stage, count, first in STAGES:
            outputs = scaled(stage, width)
            for stride in (first, *[1] * (count - 1)):
                self.blocks.append(
                    ResidualBlock(inputs, outputs, stride=stride, neuron=neuron, norm=norm)
                )
                inputs = outputs
        self.pool = global_average_pool()
        hidden = scaled(HIDDEN, width)
        self.hidden = LinearBlock(inputs, hidden, neuron=neuron, norm=norm)
        self.readout = linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        x = self.stem(x, steps)
        for block in self.blocks:
            x = block(x)
        x = self.hidden(self.pool(x).flatten(2))
        return self.answer(cast(Tensor, self.readout(x)))
