"""UPR: masks that harden while they are learned, dearer where they save more operations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.gated import GatedPruner
from microglia.methods.parts.neuron_gates import NeuronGates
from microglia.structure.cost import fan_out


class UPR(GatedPruner):
    """Unstructured pruning by learned masks, under a penalty on operations.

        w̃ = w σ(β α)                      β = β₀ (β_K / β₀)^x,  x = n / N of the run's N steps
        s̃ = s σ(β α)                      with `neurons`: spikes, an α for each position of a map
        R = Σ e σ(β α)                    e ~ the operations that it takes part in, in a timestep:
                                          places of a weight, fan-out of a neuron
        at last: w̃ = w [α > 0],  s̃ = s [α ≥ 0]

    The sparsity rises with λ. e is divided by its mean over all weights, so that λ means the same
    for images of any size.

    A neuron's mask stays in the network that `compact()` gives, as a buffer of the neuron layer: no
    tensor gets smaller by it, but synapses and SynOps are fewer. `detach()` takes it away. Budgets
    are of weights; `neurons.kept()` counts neurons.

    Args:
        total_steps: N, of β's rise, after `warmup`; None for `until`.
        strength: λ, in the unit of the loss for each weight.
        beta: β₀ and β_K.
        neurons: learn masks of neurons too, of all maps with space that a layer reads.
        neuron_sparsity: fraction of these neurons to close when masks come to stand still; None
            for those of α < 0, as λ has it: one that the budget of the weights makes up for may
            close nearly all neurons.
        The others: see `GatedPruner`, with α for φ.

    Source: Shi et al., "Towards energy efficient spiking neural networks: an unstructured pruning
    framework", ICLR 2024, which learns both masks, those of neurons behind all convolutions but
    the first. Here they are off unless asked for, since a budget is of weights. Dividing e by
    its mean, λ, the masks' rate, e shared evenly between the positions of maps that are read
    together, and a sparsity of neurons are this package's choice.
    """

    name = "upr"
    source = "Shi et al., ICLR 2024"
    travel = 1.0

    def __init__(
        self,
        model: nn.Module,
        *,
        total_steps: int | None = None,
        strength: float = 1e-3,
        beta: tuple[float, float] = (5.0, 1000.0),
        neurons: bool = False,
        neuron_sparsity: float | None = None,
        **settings: Any,
    ) -> None:
        length = total_steps if total_steps is not None else settings.get("until")
        if length is None or length < 1:
            raise ConfigError("'upr' hardens its masks over total_steps=; give that or until=")
        if len(beta) != 2 or not 0 < beta[0] <= beta[1] < math.inf:
            raise ConfigError(f"beta rises from one number above 0 to another; got {beta!r}")
        if neuron_sparsity is not None and not neurons:
            raise ConfigError("neuron_sparsity: there are masks of neurons with neurons=True alone")
        self.total_steps, self._betas = length, beta
        super().__init__(model, strength=strength, **settings)
        costs = {n: float(self._price(n, "macs", {}).mean()) for n in self.masks.weights}
        mean = sum(costs[n] * k for n, k in self.sizes().items()) / sum(self.sizes().values())
        self._energy = {n: c / mean for n, c in costs.items()}
        self.neurons: NeuronGates | None = None
        if neurons:
            with self._detached_if_refused():
                self._add_neurons(neuron_sparsity, mean)

    def _add_neurons(self, sparsity: float | None, mean: float) -> None:
        energy = {name: macs / mean for name, macs in fan_out(self._whole).items()}
        self.neurons = NeuronGates(
            self.model, self._whole, energy=energy, beta=lambda: self.beta, sparsity=sparsity
        )
        self._parts["neurons"] = self.neurons
        self._group["params"] += self.neurons.gates.values()

    def _before(self) -> None:
        if self.neurons is not None and not self._holding:
            # Before the penalty sets in the loss alone moves them, as it does the weights' gates.
            self.neurons.push(self.strength if self.steps >= self.schedule.warmup else 0.0)
        super()._before()

    @property
    def beta(self) -> float:
        """β after the steps taken."""
        first, last = self._betas
        warmup = self.schedule.warmup
        x = (self.steps - warmup) / max(1, self.total_steps - warmup)
        return float(first * (last / first) ** min(1.0, max(0.0, x)))

    def _gate(self, gate: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * gate)

    def _gate_slope(self, gate: Tensor, z: Tensor) -> Tensor:
        return self.beta * z * (1 - z)

    def _pressure(self, name: str, gate: Tensor) -> Tensor:
        z = torch.sigmoid(self.beta * gate)
        return self._energy[name] * self.beta * z * (1 - z)

    def _last(self, gate: Tensor) -> Tensor:
        return (gate > 0).to(gate)
