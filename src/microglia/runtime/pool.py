"""Max pooling as a few maxima of whole slices."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn


class SlicedMaxPool2d(nn.MaxPool2d):
    """Max pooling of maps [..., H, W] on the CPU: the maximum of every k-th row, then column.

    ATen's own kernel is slow where the channels don't fill vector registers, as after pruning, or
    don't stand last in memory. The maximum is exact, so nothing changes but the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            maps: Tensor = super().forward(x.flatten(end_dim=-4) if x.dim() > 4 else x)
            return maps.reshape(*x.shape[:-2], *maps.shape[-2:])
        kernel, stride = _pair(self.kernel_size), _pair(self.stride)
        return _slide(_slide(x, -2, kernel[0], stride[0]), -1, kernel[1], stride[1])


def accelerate_pool(module: Any) -> None:
    """Turn a plain max pooling of maps into its sliced form, in place; others are left alone."""
    if type(module) not in _kinds() or module.ceil_mode or module.return_indices:
        return
    plain = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
    if plain and max(_pair(module.kernel_size)) > 1:  # a window of 1 would give a view of the input
        module.__class__ = SlicedMaxPool2d


def _kinds() -> tuple[type[nn.Module], ...]:
    if "spikingjelly.activation_based" not in sys.modules:
        return (nn.MaxPool2d,)
    from spikingjelly.activation_based import layer

    return (nn.MaxPool2d, layer.MaxPool2d)


def _slide(x: Tensor, axis: int, kernel: int, stride: int) -> Tensor:
    """The maximum over each window along an axis."""
    places = (x.shape[axis] - kernel) // stride + 1
    if places < 1:
        raise ValueError(f"a window of {kernel} is larger than the map, {tuple(x.shape[-2:])}")
    index: list[Any] = [...] + [slice(None)] * -axis
    slices = []
    for first in range(kernel):
        index[axis] = slice(first, first + stride * (places - 1) + 1, stride)
        slices.append(x[tuple(index)])
    best = slices[0]
    for other in slices[1:]:
        best = torch.maximum(best, other)
    return best


def _pair(size: Any) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
