"""Firing rates, and neurons that never or always fire."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from microglia.frameworks import first_tensor, neuron_kind, neuron_masks, spiking_neurons
from microglia.metrics.forward import Batches, Forward, call, evaluating, plain, run


@dataclass(frozen=True)
class NeuronActivity:
    """One layer of spiking neurons over all samples and timesteps that it ran."""

    name: str
    shape: tuple[int, ...]
    """Of the layer's map without time and batch, such as (C, H, W)."""
    steps: int
    """Timesteps of all samples together: how often each neuron could fire."""
    spikes: int
    """Non-zero outputs of all its neurons."""
    dead: int
    """Neurons that never fired."""
    saturated: int
    """Neurons that fired at every timestep of every sample."""
    masked: int = 0
    """Of the dead ones those that a mask closes for good."""

    @property
    def neurons(self) -> int:
        return prod(self.shape)

    @property
    def firing_rate(self) -> float:
        """Spikes per neuron and timestep, 0 to 1."""
        return self.spikes / (self.steps * self.neurons)


@dataclass(frozen=True)
class NetworkActivity:
    """The spiking neurons of a network, in the order in which they first ran."""

    layers: tuple[NeuronActivity, ...]

    @property
    def neurons(self) -> int:
        return sum(layer.neurons for layer in self.layers)

    @property
    def dead(self) -> int:
        """Neurons that never fired on this data."""
        return sum(layer.dead for layer in self.layers)

    @property
    def masked(self) -> int:
        """Neurons that masks close for good."""
        return sum(layer.masked for layer in self.layers)

    @property
    def saturated(self) -> int:
        """Neurons that fired at every timestep of every sample."""
        return sum(layer.saturated for layer in self.layers)

    @property
    def firing_rate(self) -> float | None:
        """Spikes per neuron and timestep over all layers; None where nothing spikes."""
        chances = sum(layer.steps * layer.neurons for layer in self.layers)
        return sum(layer.spikes for layer in self.layers) / chances if chances else None


def measure_activity(
    model: nn.Module, batches: Batches, *, forward: Forward = call
) -> NetworkActivity:
    """Firing rates, dead and saturated neurons over the batches; the network is left as it was.

    Raises:
        DataError: no batches, an empty batch, or outputs of another shape than [N, classes].
        TrainingError: the outputs are NaN or infinite.
    """
    model = plain(model)
    with evaluating(model), ActivityCounter(model) as counter:
        for _ in run(model, batches, forward):
            pass
    return counter.result()


@dataclass
class _Tally:
    fired: Tensor
    """How often each neuron has fired, of the shape of the layer's map."""
    steps: int


class ActivityCounter:
    """Counts the spikes of each neuron inside the `with`; spike trains aren't kept."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._tallies: dict[tuple[str, torch.Size], _Tally] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> ActivityCounter:
        for name, neuron in spiking_neurons(self._model).items():
            self._hooks.callback(self._watch(name, neuron).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _watch(self, name: str, neuron: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(neuron: nn.Module, args: Any, output: Any) -> None:
            kind = neuron_kind(neuron)
            spikes = first_tensor(output).detach()
            if kind is not None and kind.multi_step(neuron):
                spikes = spikes.flatten(0, 1)
            fired = (spikes != 0).sum(0)
            tally = self._tallies.get((name, fired.shape))
            if tally is None:
                self._tallies[name, fired.shape] = _Tally(fired, len(spikes))
            else:
                tally.fired += fired
                tally.steps += len(spikes)

        return neuron.register_forward_hook(hook)

    def result(self) -> NetworkActivity:
        """What was counted so far."""
        masked = {name: int((~mask).sum()) for name, mask in neuron_masks(self._model).items()}
        return NetworkActivity(
            tuple(
                NeuronActivity(
                    name=name,
                    shape=tuple(shape),
                    steps=tally.steps,
                    spikes=int(tally.fired.sum()),
                    dead=int((tally.fired == 0).sum()),
                    saturated=int((tally.fired == tally.steps).sum()),
                    masked=masked.get(name, 0),
                )
                for (name, shape), tally in self._tallies.items()
            )
        )
