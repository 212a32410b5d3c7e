"""Where the weights of a layer land: exact connections of convolutions and linear layers."""

from __future__ import annotations

from math import prod
from typing import TypeAlias, get_args

import torch
from torch import Tensor, nn

SynapseLayer: TypeAlias = (
    nn.Linear
    | nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
)

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def kind(layer: SynapseLayer) -> str:
    """The torch class that the layer is one of, such as 'Conv2d', also for a subclass of it."""
    return next(base.__name__ for base in type(layer).__mro__ if base in get_args(SynapseLayer))


def space_axes(layer: SynapseLayer) -> int:
    """How many axes of space the layer's maps have: 0 for a linear layer."""
    return 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)


def dense_macs(layer: SynapseLayer, input_space: torch.Size, output_space: torch.Size) -> int:
    """Multiply-accumulates of one use of the layer, as the field counts them.

    Kernel size × (input channels / groups) for each output element, whether or not the kernel
    hangs over the border there and whether or not weights are zero. A transposed convolution
    is counted from its input elements instead: kernel size × (output channels / groups).
    """
    places = input_space if isinstance(layer, _TRANSPOSED) else output_space
    return layer.weight.numel() * prod(places)


def fan_out(
    layer: SynapseLayer,
    input_space: torch.Size,
    output_space: torch.Size,
    seen: Tensor | None = None,
) -> Tensor:
    """Non-zero weights that each element of the input meets inside the map, [C_in, *input_space].

        fan_out[c, p] = Σ_k nonzero[c, k] · Π_a reach_a[k_a, p_a]

    where nonzero[c, k] counts the non-zero weights that input channel c has at kernel offset k,
    and reach_a[k, p] the outputs at which offset k reads position p along axis a. Exact at the
    borders for any stride, padding (mode), dilation and groups. int64, on the CPU.

    With `seen`, boolean [C_out, *output_space], only the outputs named there count; a transposed
    convolution has no such count here, and all of its outputs do.
    """
    if seen is not None and not bool(seen.all()) and not isinstance(layer, _TRANSPOSED):
        return _fan_out_to(layer, input_space, seen)
    connections = _nonzero_weights(layer)
    for axis in range(len(input_space)):
        reach = _reach(layer, axis, input_space[axis], output_space[axis])
        # Takes up the foremost kernel axis and appends the space axis that it becomes.
        connections = torch.tensordot(connections, reach, dims=([1], [0]))
    return connections.round().long()


def _fan_out_to(layer: SynapseLayer, input_space: torch.Size, seen: Tensor) -> Tensor:
    """The gradient of the outputs that are seen, summed, where every non-zero weight is 1."""
    nonzero = (layer.weight.detach() != 0).to("cpu", torch.float64)
    if isinstance(layer, nn.Linear):
        return (seen.to(nonzero) @ nonzero).round().long()
    x = torch.zeros(1, layer.in_channels, *input_space, dtype=nonzero.dtype, requires_grad=True)
    with torch.enable_grad():
        y: Tensor = layer._conv_forward(x, nonzero, None)
        (gradient,) = torch.autograd.grad(y, x, seen.to(nonzero)[None])
    return gradient[0].round().long()


def _nonzero_weights(layer: SynapseLayer) -> Tensor:
    """Non-zero weights by input channel and kernel offset, [C_in, *kernel], float64."""
    nonzero = (layer.weight.detach() != 0).to("cpu", torch.float64)
    if isinstance(layer, nn.Linear):
        return nonzero.sum(0)
    if isinstance(layer, _TRANSPOSED):
        return nonzero.sum(1)
    by_group = nonzero.reshape(layer.groups, -1, *nonzero.shape[1:])
    return by_group.sum(1).flatten(0, 1)


def _reach(layer: SynapseLayer, axis: int, inputs: int, outputs: int) -> Tensor:
    """How many outputs read input p through kernel offset k along one axis, [kernel, inputs]."""
    assert not isinstance(layer, nn.Linear), "a linear layer has no axis of space"
    stride, dilation = layer.stride[axis], layer.dilation[axis]
    kernel = layer.kernel_size[axis]
    padding = _padding_before(layer.padding, axis, dilation * (kernel - 1))
    offsets = torch.arange(kernel)[:, None] * dilation - padding
    if isinstance(layer, _TRANSPOSED):
        landing = torch.arange(inputs) * stride + offsets
        return ((landing >= 0) & (landing < outputs)).to(torch.float64)
    source = _fold(torch.arange(outputs) * stride + offsets, inputs, layer.padding_mode)
    inside = (source >= 0) & (source < inputs)
    reads = torch.zeros(kernel, inputs, dtype=torch.float64)
    return reads.scatter_add_(1, source.clamp(0, inputs - 1), inside.to(torch.float64))


def _padding_before(padding: str | tuple[int, ...], axis: int, overhang: int) -> int:
    if padding == "valid":
        return 0
    if padding == "same":
        return overhang // 2
    assert not isinstance(padding, str)
    return padding[axis]


def _fold(position: Tensor, size: int, mode: str) -> Tensor:
    """The input that a padded position is a copy of; outside 0..size-1 where it is a zero."""
    if mode == "circular":
        return position % size
    if mode == "replicate":
        return position.clamp(0, size - 1)
    if mode == "reflect":
        last = size - 1
        return last - (last - position.abs()).abs()
    return position
