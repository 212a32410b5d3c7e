"""Convolutions on the CPU are faster where the channels lie last in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from microglia.frameworks import fresh_copy, reset


def allows_channels_last(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """On the CPU, and no `view` in the network wants the channels first."""
    if any(p.device.type != "cpu" for p in model.parameters()):
        return False
    probe = fresh_copy(model)
    put_channels_last(probe)
    reset(probe)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            probe(*inputs)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        return False
    return True


def put_channels_last(model: nn.Module) -> list[nn.Conv2d]:
    """A convolution gives its output the layout of its weight. Returns those that were changed."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    changed = [m for m in layers if m.weight.is_contiguous()]
    for layer in changed:
        layer.weight.data = layer.weight.contiguous(memory_format=torch.channels_last)
    return changed


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Weights with the channels last inside the block, in PyTorch's own order after it."""
    changed = put_channels_last(model)
    try:
        yield
    finally:
        for layer in changed:
            layer.weight.data = layer.weight.contiguous()
