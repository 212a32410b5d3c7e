"""How much there is to store."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from microglia.frameworks import fresh_copy, reset


@dataclass(frozen=True)
class Size:
    """What a network holds; a tensor shared by several layers counts once."""

    parameters: int
    nonzero_parameters: int
    """Parameters whose value isn't 0. Norms begin with biases of 0, so even a dense network may
    have fewer of these: compare like with like."""
    bytes: int
    """Memory of parameters and buffers, in their own data types."""


def measure_size(model: nn.Module) -> Size:
    """Parameters, those that aren't zero, and bytes (parameters and buffers), at rest.

    Some neurons keep their state in buffers (snnTorch): that of the last batch doesn't count.
    """
    model = fresh_copy(model)
    reset(model)
    parameters = list(model.parameters())
    return Size(
        parameters=sum(p.numel() for p in parameters),
        nonzero_parameters=sum(int(torch.count_nonzero(p)) for p in parameters),
        bytes=sum(t.numel() * t.element_size() for t in chain(parameters, model.buffers())),
    )
