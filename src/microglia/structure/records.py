"""What a trace writes down: marks on tensors, uses of weights, places where gates may stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Mark:
    """What is known of one tensor while the network runs."""

    shadows: list[Tensor]
    static: bool = False
    """It depends on no input: a weight, a buffer, or made from them."""
    weak: bool = False
    """A constant fill (zeros, ones): it takes any size, so it ties nothing."""
    sources: frozenset[str] = frozenset()
    """Layers, norms and neurons whose output flows here without passing a neuron in between."""


@dataclass
class Synapses:
    """One use of a weight: a convolution or a matrix product."""

    layer: str
    kind: str
    """'conv' or 'linear'."""
    out_atoms: Tensor
    """Atom of each output channel."""
    in_atoms: Tensor
    """Atom of each input channel, PIN where the input carries none."""
    groups: int
    kernel: int
    """Weights of one kernel, k_h * k_w."""
    places: int
    """How often the kernel is used in one forward pass: T * N * H_out * W_out (the input's extent
    for a transposed convolution)."""
    sources: frozenset[str]


@dataclass
class Reading:
    """The current that enters a neuron, or the output of a norm or layer."""

    module: str
    shape: torch.Size
    atoms: Tensor
    """Atom of each position along `dim`."""
    dim: int
    sources: frozenset[str]
    storage: int


def address(x: Tensor) -> int:
    """Where the memory of a tensor begins; equal for views of one another."""
    return x.untyped_storage().data_ptr()
