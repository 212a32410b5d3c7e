"""Measure a network: accuracy, operations and activity in one pass, then time and memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import nn

from microglia.errors import ConfigError
from microglia.metrics.accuracy import correct
from microglia.metrics.activity import ActivityCounter
from microglia.metrics.counting import OperationCounter
from microglia.metrics.energy import HOROWITZ_45NM, EnergyTable
from microglia.metrics.figures import Figures
from microglia.metrics.forward import Batches, Forward, call, evaluating, peeked, plain, run
from microglia.metrics.latency import measure_latency
from microglia.metrics.memory import measure_peak_memory
from microglia.metrics.openings import openings
from microglia.metrics.size import measure_size


def measure(
    model: nn.Module,
    batches: Batches,
    *,
    T: int | None = None,
    example_input: Any = None,
    forward: Forward = call,
    energy: EnergyTable = HOROWITZ_45NM,
    operation_batches: int | None = None,
    latency_repeats: int = 20,
) -> Figures:
    """Measure a network in one pass over the batches; it is left as it was.

    Args:
        model: a network of any framework, on any device.
        batches: (inputs, labels [N]) pairs; tensors are moved to the network's device.
        T: timesteps of a sample. None: as often as the spiking neurons are updated; a network
            without any wants T=1.
        example_input: what latency and peak memory are measured on. None: the first batch.
        forward: how to call the network, if not `model(inputs)`; must give logits [N, classes].
        energy: the table that turns operations into energy.
        operation_batches: count operations on the first so many batches only. None: on all.
        latency_repeats: 0 leaves out latency and peak memory.

    Raises:
        DataError: no batches, an empty batch, or outputs of another shape than [N, classes].
        StructureError: no synapse layer ran, or one that isn't run for every sample.
        ConfigError: T can't be told or doesn't fit; a setting is out of range.
        TrainingError: the outputs are NaN or infinite.
    """
    if operation_batches is not None and operation_batches < 1:
        raise ConfigError(f"operation_batches: wanted 1 or more, got {operation_batches}")
    if latency_repeats < 0:
        raise ConfigError(f"latency_repeats: wanted 0 or more, got {latency_repeats}")
    network = plain(model)
    activity = ActivityCounter(network)
    right = samples = 0
    with evaluating(network), ExitStack() as watching, ExitStack() as counting:
        first, batches = peeked(batches)
        operations = OperationCounter(network, T=T, left=openings(network, first, forward))
        watching.enter_context(activity)
        counting.enter_context(operations)
        for done, (logits, labels) in enumerate(run(network, batches, forward), start=1):
            right += correct(logits, labels)
            samples += len(labels)
            if operation_batches is None or done <= operation_batches:
                operations.end_batch(len(labels))
            if done == operation_batches:
                counting.close()
    if example_input is None:
        example_input = first
    timing, memory = None, None
    if latency_repeats > 0:
        timing = measure_latency(model, example_input, repeats=latency_repeats, forward=forward)
        memory = measure_peak_memory(model, example_input, forward=forward)
    return Figures(
        accuracy=right / samples,
        samples=samples,
        size=measure_size(network),
        operations=operations.result(),
        energy=energy,
        activity=activity.result(),
        latency=timing,
        peak_memory_bytes=memory,
    )
