"""The same training in less time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from microglia.runtime.channels_last import allows_channels_last, channels_last


@contextmanager
def accelerated_training(model: nn.Module, *, example_input: Any = None) -> Iterator[None]:
    """Train on the CPU inside this block in less time: the same arithmetic, in another order.

        with accelerated_training(model, example_input=x):
            for x, y in batches:
                ...

    - SpikingJelly's IF, LIF and PLIF neurons are scanned over time, forward and backward, in few
      passes over memory: bit-equal spikes, gradients that differ by rounding. They have no second
      derivative then;
    - convolutions compute with the channels last in memory, if an example shows that the network
      allows it. Their sums are taken in another order: in float64 spikes stay the same, in float32
      a few that are at the threshold flip, and a run diverges from the plain one as two seeds do.
      Without an example this is left out; so it must be for optimizers that `view` weights (LBFGS).

    After the block classes and memory formats are as they were. Neurons on a GPU keep to
    SpikingJelly's own kernels, which are faster there.

    Args:
        model: the network, with or without gates.
        example_input: an input, or a tuple of them; a batch of one or two is enough.
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    with ExitStack() as stack:
        if "spikingjelly.activation_based" in sys.modules:
            from microglia.runtime.spikingjelly import scanned_neurons

            stack.enter_context(scanned_neurons(model))
        if example_input is not None and allows_channels_last(model, inputs):
            stack.enter_context(channels_last(model))
        yield
