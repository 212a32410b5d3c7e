"""What a trained network does on some batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from microglia.errors import ConfigError
from microglia.frameworks import reset
from microglia.methods.parts.part import Part
from microglia.methods.parts.scores import ActivityScore
from microglia.methods.parts.traffic import Traffic
from microglia.structure import as_arguments

Forward = Callable[[nn.Module, Any], Any]
"""(network, inputs of a batch) -> whatever; runs all timesteps."""


def call(model: nn.Module, inputs: Any) -> Any:
    """The network called once, a tuple of inputs as several arguments."""
    return model(*as_arguments(inputs))


def run_over(model: nn.Module, batches: Iterable[Any], forward: Forward) -> int:
    """Run the network over batches in eval mode without gradients; the number of batches.

    Modes and neuron states are put back as they were (states: cleared).

    Raises:
        ConfigError: a tensor in the place of batches, whose rows would be taken for them.
    """
    if isinstance(batches, Tensor):
        raise ConfigError("calibrate: wanted batches, got one tensor; pass a list, [tensor]")
    modes = {module: module.training for module in model.modules()}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    count = 0
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
                reset(model)
                forward(model, tree_map_only(Tensor, lambda x: x.to(device), inputs))
                count += 1
    finally:
        reset(model)
        for module, mode in modes.items():
            module.training = mode
    return count


def watch_traffic(
    part: Part | None, model: nn.Module, batches: Iterable[Any], forward: Forward
) -> None:
    """Let a method's traffic see what the network does on batches, if it counts any."""
    if isinstance(part, Traffic):
        with listening(part):
            run_over(model, batches, forward)


@contextmanager
def listening(*parts: ActivityScore | Traffic) -> Iterator[None]:
    """Let parts watch calls in eval mode too."""
    for part in parts:
        part.always = True
    try:
        yield
    finally:
        for part in parts:
            part.always = False
