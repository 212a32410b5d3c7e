"""Operations of one layer counted in Python loops, from the definition and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass
class Count:
    """Sums over the samples of one call."""

    connections: int = 0
    accumulates: int = 0
    multiply_accumulates: int = 0

    def meet(self, x: Array, place: tuple[int, ...], weight: float) -> None:
        """One weight reads one element of each sample's input [N, ...]."""
        if weight == 0:
            return
        for value in x[(slice(None), *place)].tolist():
            self.connections += 1
            self.accumulates += value == 1
            self.multiply_accumulates += value not in (0, 1)

    def of_a_layer(self) -> Count:
        """A layer that is given any graded value multiplies them all."""
        if not self.multiply_accumulates:
            return self
        return Count(self.connections, 0, self.accumulates + self.multiply_accumulates)


def count(layer: nn.Module, x: Tensor) -> Count:
    """Every sample, every output position, every weight of the layer on x [N, C, *space]."""
    if isinstance(layer, nn.Linear):
        return _linear(layer, x)
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return _transposed(layer, x)
    assert isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return _convolution(layer, x)


def _arrays(x: Tensor, weight: Tensor) -> tuple[Array, Array]:
    return x.detach().numpy(), weight.detach().numpy()


def _linear(layer: nn.Linear, x: Tensor) -> Count:
    total = Count()
    values, weight = _arrays(x, layer.weight)
    for o, i in product(range(layer.out_features), range(layer.in_features)):
        total.meet(values, (i,), weight[o, i])
    return total


def _convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Count:
    total = Count()
    sources = _padded_sources(layer, tuple(x.shape[2:]))
    space_out = layer(x).shape[2:]
    values, weight = _arrays(x, layer.weight)
    out_per_group = layer.out_channels // layer.groups
    in_per_group = layer.in_channels // layer.groups
    for o, c in product(range(layer.out_channels), range(in_per_group)):
        channel = (o // out_per_group) * in_per_group + c
        for place in product(*map(range, space_out)):
            for offset in product(*map(range, layer.kernel_size)):
                read = tuple(
                    p * s + k * d
                    for p, s, k, d in zip(place, layer.stride, offset, layer.dilation, strict=True)
                )
                source = sources[read]
                if source is not None:
                    total.meet(values, (channel, *source), weight[(o, c, *offset)])
    return total


def _padded_sources(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, space: tuple[int, ...]
) -> dict[tuple[int, ...], tuple[int, ...] | None]:
    """Which input each position of the padded map is a copy of; None where it is padding.

    Found by padding a map of running numbers from 1 as torch pads.
    """
    if layer.padding == "valid":
        before = after = [0] * len(space)
    elif layer.padding == "same":
        overhang = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        before = [o // 2 for o in overhang]
        after = [o - o // 2 for o in overhang]
    else:
        before = after = list(layer.padding)
    pads = [p for pair in zip(reversed(before), reversed(after), strict=True) for p in pair]
    places = list(product(*map(range, space)))
    numbers = torch.arange(1, len(places) + 1, dtype=torch.float64).reshape(1, 1, *space)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(numbers, pads, mode=mode)[0, 0]
    return {
        place: places[int(padded[place]) - 1] if padded[place] else None
        for place in product(*map(range, padded.shape))
    }


def _transposed(
    layer: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d, x: Tensor
) -> Count:
    total = Count()
    space_out = layer(x).shape[2:]
    values, weight = _arrays(x, layer.weight)
    for c, o in product(range(layer.in_channels), range(layer.out_channels // layer.groups)):
        for place in product(*map(range, x.shape[2:])):
            for offset in product(*map(range, layer.kernel_size)):
                landing = [
                    p * s - pad + k * d
                    for p, s, pad, k, d in zip(
                        place, layer.stride, layer.padding, offset, layer.dilation, strict=True
                    )
                ]
                if all(0 <= q < size for q, size in zip(landing, space_out, strict=True)):
                    total.meet(values, (c, *place), weight[(c, o, *offset)])
    return total
