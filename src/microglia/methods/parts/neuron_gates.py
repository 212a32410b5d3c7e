"""A gate beside each neuron, learned with the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import NEURON_MASK, neuron_kind, neuron_masks, put_mask, take_mask
from microglia.methods.parts.budget import units_left
from microglia.methods.parts.part import Part
from microglia.methods.parts.scope import select
from microglia.structure import Keep, Structure


class NeuronGates(Part):
    """Masks on the spikes of each position of a map, soft while they are learned.

        s̃ = s σ(β α)        at last: s̃ = s [α ≥ 0]

    α begins at 0, and acts from the first step of the optimizer on. A layer keeps one neuron at
    least, that of its largest α. Masks are in the network as buffers (`frameworks.put_mask`), at
    any time those that there would be if these were the last α.

    Args:
        energy: what the neurons of each layer take part in together, shared out evenly as their e.
        beta: β for the next step.
        sparsity: the fraction of the neurons that are closed at last, those of smallest α; None
            for those of α below 0.

    Raises:
        ConfigError: no layer has a map with space, such as [C, H, W], that somebody reads; there
            are masks already; or `sparsity` is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        structure: Structure,
        *,
        energy: Mapping[str, float],
        beta: Callable[[], float],
        sparsity: float | None,
    ) -> None:
        if sparsity is not None and not 0 <= sparsity < 1:
            raise ConfigError(
                f"neuron_sparsity is the fraction taken away, in [0, 1); got {sparsity!r}"
            )
        if neuron_masks(model):
            raise ConfigError("neurons: the network has masks already, of an earlier pruning")
        self.beta, self.sparsity = beta, sparsity
        self.gates: dict[str, nn.Parameter] = {}
        self.energy: dict[str, float] = {}
        self._layers: dict[str, nn.Module] = {}
        self._begun = self._settled = False
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        for name, whole in energy.items():
            layer = model.get_submodule(name)
            shape = _map_of(layer, structure.neurons[name])
            if whole == 0 or shape is None or len(shape) == 1:
                continue
            self.energy[name] = whole / shape.numel()
            self.gates[name] = nn.Parameter(torch.zeros(shape, device=device))
            self._layers[name] = layer
        if not self.gates:
            raise ConfigError(
                "neurons: no layer of them has a map with space that another layer reads; those of "
                "linear layers go with their weights"
            )
        for name, layer in self._layers.items():
            mask = torch.ones_like(self.gates[name], dtype=torch.bool)
            put_mask(layer, mask, partial(self._soft, name))

    def sizes(self) -> dict[str, int]:
        """Neurons of each layer that has gates."""
        return {name: gate.numel() for name, gate in self.gates.items()}

    def kept(self) -> dict[str, int]:
        """How many of them are open now."""
        return {name: int(mask.sum()) for name, mask in self._masks().items()}

    @torch.no_grad()
    def push(self, strength: float) -> None:
        """Add λ dR/dα to the gradients of α, with R = Σ e σ(β α)."""
        beta = self.beta()
        for name, gate in self.gates.items():
            if gate.grad is None:
                continue
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(gate.grad)
                gate.grad /= dist.get_world_size()
            z = torch.sigmoid(beta * gate)
            gate.grad += strength * self.energy[name] * beta * z * (1 - z)

    def collect(self) -> None:
        if not self._settled:
            self._begun = True
            self._put({name: gate >= 0 for name, gate in self.gates.items()})
        for gate in self.gates.values():
            gate.grad = None

    def settle(self) -> None:
        if self._settled:
            return
        self._settled = True
        if self.sparsity is not None:
            alphas = {name: gate.detach().flatten().cpu() for name, gate in self.gates.items()}
            left = units_left(self.sizes(), self.sparsity)
            self._put(select(alphas, left, dict.fromkeys(alphas, 1)))

    def state_dict(self) -> dict[str, Any]:
        return {
            "gates": {name: gate.detach().clone() for name, gate in self.gates.items()},
            "masks": {name: mask.clone() for name, mask in self._masks().items()},
            "begun": self._begun,
            "settled": self._settled,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, gate in self.gates.items():
            gate.copy_(state["gates"][name])  # in place, since the optimizer knows it
        self._put(state["masks"])
        self._begun, self._settled = state["begun"], state["settled"]

    def remove(self) -> None:
        for layer in self._layers.values():
            take_mask(layer)

    def _soft(self, name: str) -> Tensor | None:
        if self._settled or not self._begun:
            return None
        gate, mask = self.gates[name], self._masks()[name]
        if gate.device != mask.device:  # the network may have been moved since
            gate.data = gate.data.to(mask.device)
        return torch.sigmoid(self.beta() * gate)

    def _masks(self) -> dict[str, Tensor]:
        return {name: layer.get_buffer(NEURON_MASK) for name, layer in self._layers.items()}

    def _put(self, keep: Keep) -> None:
        for name, mask in self._masks().items():
            wanted = keep[name].to(mask.device)
            if not wanted.any():
                wanted = torch.zeros_like(wanted).flatten()
                wanted[self.gates[name].argmax()] = True
            mask.copy_(wanted.reshape(mask.shape))


def _map_of(layer: nn.Module, current: torch.Size | None) -> torch.Size | None:
    """The shape of one sample at one timestep, such as [C, H, W]."""
    kind = neuron_kind(layer)
    if kind is None or current is None:
        return None
    return current[2:] if kind.multi_step(layer) else current[1:]
