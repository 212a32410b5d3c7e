"""PreResNet-18 and -20: residual networks whose norm and neuron precede the convolution."""

from typing import Literal, cast

from torch import Tensor, nn

from microglia.networks.blocks import Network, as_sequence, initialise, normed
from microglia.networks.layers import (
    BN,
    IF,
    Neuron,
    Norm,
    conv1x1,
    conv3x3,
    global_average_pool,
    linear,
    scaled,
)

DEPTHS = {18: ((64, 128, 256, 512), 2), 20: ((16, 32, 64), 3)}  # channels of each stage, blocks


class PreActivationBlock(nn.Module):
    """BN1-SN1-Conv1-BN2-SN2-Conv2, added to the stream.

    Where the width or the stride changes, the stream goes through a 1x1 convolution of SN1's spikes
    (He et al. 2016: the projection shares the first activation), else it is passed on untouched:

        s = SN1(BN1(x))
        y = Conv2(SN2(BN2(Conv1(s)))) + (Shortcut(s) or x)

    So the stream is only ever read through a norm and a neuron.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, neuron: Neuron, norm: Norm = BN
    ) -> None:
        super().__init__()
        self.bn1 = norm.maps(inputs)
        self.sn1 = neuron()
        self.conv1 = conv3x3(inputs, outputs, stride=stride)
        self.bn2 = norm.maps(outputs)
        self.sn2 = neuron()
        self.conv2 = conv3x3(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = conv1x1(inputs, outputs, stride=stride) if changes else None

    def forward(self, x: Tensor, steps: int) -> Tensor:
        spikes = self.sn1(normed(self.bn1, x, steps))
        branch = self.conv2(self.sn2(self.bn2(self.conv1(spikes))))
        # A stream that is constant in time, [1, N, C, H, W], is broadcast by the sum.
        return cast(Tensor, branch + (x if self.shortcut is None else self.shortcut(spikes)))


class PreResNet(Network):
    """A 3x3 stem, stages of `PreActivationBlock`, a last norm and neuron, global average pooling,
    a linear read-out. Each stage but the first halves the map.

    Depth 18 has four stages of 64, 128, 256 and 512 channels with two blocks each, as for ImageNet
    but for the stem, which suits small images (stride 1, no pooling). Depth 20 has three stages of
    16, 32 and 64 channels with three blocks each.

    Takes images [N, channels, H, W] or sequences [T, N, channels, H, W] of any size; returns logits
    [N, classes].
    Source: He et al., Identity Mappings in Deep Residual Networks (ECCV 2016); pruned in SCA (Li et
    al., ICML 2024), which leaves the neuron open: IF here, as in its VGG16.
    """

    def __init__(
        self,
        *,
        depth: Literal[18, 20],
        classes: int,
        channels: int = 3,
        T: int = 4,
        width: float = 1.0,
        neuron: Neuron = IF,
        norm: Norm = BN,
    ) -> None:
        super().__init__()
        self.T = T
        stages, blocks = DEPTHS[depth]
        widths = [scaled(c, width) for c in stages]
        self.stem = conv3x3(channels, widths[0])
        self.blocks = nn.ModuleList()
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for place in range(blocks):
                stride = 2 if stage > 0 and place == 0 else 1
                self.blocks.append(
                    PreActivationBlock(inputs, outputs, stride=stride, neuron=neuron, norm=norm)
                )
                inputs = outputs
        self.norm = norm.maps(inputs)
        self.neuron = neuron()
        self.pool = global_average_pool()
        self.readout = linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, steps)
        x = self.pool(self.neuron(self.norm(x)))
        return self.answer(cast(Tensor, self.readout(x.flatten(2))))
