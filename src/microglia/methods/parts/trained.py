"""What a trained network does on some batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from microglia.frameworks import reset
from microglia.structure import as_arguments


def run_over(model: nn.Module, batches: Iterable[Any]) -> int:
    """Run the network over batches in eval mode without gradients; the number of batches.

    Modes and neuron states are put back as they were (states: cleared).
    """
    modes = {module: module.training for module in model.modules()}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    count = 0
    try:
        model.eval()
        with torch.no_grad():
            for batch in batches:
                inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
                reset(model)
                model(*(x.to(device) for x in as_arguments(inputs)))
                count += 1
    finally:
        reset(model)
        for module, mode in modes.items():
            module.training = mode
    return count
