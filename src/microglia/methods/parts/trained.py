"""What a trained network does on some batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from microglia.errors import ConfigError, memory_for
from microglia.frameworks import reset
from microglia.methods.parts.watch import Listener
from microglia.structure import as_arguments

Forward = Callable[[nn.Module, Any], Any]
"""(network, inputs of a batch) -> whatever; runs all timesteps."""

BATCH_OR_T = "the size of these batches (data.batch_size) or network.T"


def call(model: nn.Module, inputs: Any) -> Any:
    """The network called once, a tuple of inputs as several arguments.

    Raises:
        ConfigError: there is no tensor in them.
    """
    if not any(isinstance(x, Tensor) for x in tree_leaves(inputs)):
        raise ConfigError(
            "a batch: wanted a tensor, a tuple of them, or (inputs, labels); got a "
            f"{type(inputs).__name__}. Pass forward=, which runs the network on it"
        )
    return model(*as_arguments(inputs))


def run_over(
    model: nn.Module,
    batches: Iterable[Any],
    forward: Forward,
    *,
    enough: Callable[[], bool] = lambda: False,
    needed: bool = False,
) -> int:
    """Run the network over batches in eval mode without gradients; the number of batches.

    `enough` is asked after each whether to leave the rest. Modes and neuron states are put back as
    they were (states: cleared).

    Raises:
        ConfigError: no batches, such as a tensor, whose rows would be taken for them; or not one,
            where one is `needed`.
        TrainingError: memory ran out.
    """
    if isinstance(batches, Tensor):
        raise ConfigError("calibrate: wanted batches, got one tensor; pass a list, [tensor]")
    if not isinstance(batches, Iterable):
        what = type(batches).__name__
        raise ConfigError(f"calibrate: wanted batches, got a {what}; pass a list or a loader")
    modes = {module: module.training for module in model.modules()}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    count = 0
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
                reset(model)
                with memory_for(f"calibrating on batch {count}", lower=BATCH_OR_T):
                    forward(model, tree_map_only(Tensor, lambda x: x.to(device), inputs))
                count += 1
                if enough():
                    break
    finally:
        reset(model)
        for module, mode in modes.items():
            module.training = mode
    if needed and not count:
        raise ConfigError("calibrate() was given no batch; pass some of the training data")
    return count


@contextmanager
def listening(*parts: Listener) -> Iterator[None]:
    """Let parts watch calls in eval mode too."""
    for part in parts:
        part.always = True
    try:
        yield
    finally:
        for part in parts:
            part.always = False
