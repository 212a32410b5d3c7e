"""What every method that prunes single weights shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.gates import WeightMasks
from microglia.methods.allotting import Propose
from microglia.methods.base import Pruner
from microglia.methods.parts.prunable import named, prunable_weights
from microglia.methods.parts.traffic import Traffic
from microglia.structure import Keep, Structure, output_axis
from microglia.surgery import unread


class WeightPruner(Pruner):
    """Closes and opens single weights of convolutions, linear and recurrent layers.

    A closed weight is zero in the network itself, and the optimizer's steps leave it so; biases and
    norms are left alone. `compact()` takes out the channels that nothing reads any more; other
    zeros stay zeros, and cost what they cost (see `runtime.sparsify` and `runtime.csr_bytes`).

    A group is one weight, by the name of its parameter, such as "conv1.weight".

    Args:
        protect: layers left alone (shell patterns such as "fc").
        The others: see `Pruner`. `latency` is no target here: zeros take as long as numbers.

    Raises:
        ConfigError: a setting out of range, an unknown layer, or nothing left to prune.
        StructureError: the network can't be analysed.
    """

    prunes: ClassVar[Literal["channels", "weights"]] = "weights"
    masks: WeightMasks

    def __init__(self, model: nn.Module, *, protect: Sequence[str] = (), **settings: Any) -> None:
        self._check_settings(settings)
        super().__init__(model, **settings)
        if self.budget.target is not None and "latency" in self.budget.target:
            raise ConfigError(
                f"'{self.name}' can't meet a target on latency: weights that are zero take as long "
                "as others. Ask for parameters, macs or synops, or prune channels."
            )
        self.structure = self._whole
        names = prunable_weights(self._whole, protect, method=self.name)
        if isinstance(self.budget.sparsity, Mapping):
            names = named(names, self.budget.sparsity, unit="weight")
        self._forgotten = 0
        units = self._units(names)
        self._attach(WeightMasks(model, names if units is None else list(units), units=units))
        if self.budget.target is not None and "synops" in self.budget.target:
            self._parts["traffic"] = Traffic(model, self.structure)

    def _units(self, names: Sequence[str]) -> dict[str, Tensor] | None:
        """Which elements of which weights are units, as in `WeightMasks`; None for all of `names`,
        unless the method says otherwise."""
        return None

    def penalty(self) -> Tensor:
        """What the method adds to the loss: nothing, unless it says otherwise."""
        self._check_attached()
        return torch.zeros((), device=next(iter(self.masks.weights.values())).device)

    def sizes(self) -> dict[str, int]:
        return self.masks.sizes()

    def _cost(self, quantity: str, density: Mapping[str, Tensor]) -> Callable[[Keep], float]:
        """The quantity that open weights take part in, with parameters that aren't masked.

        parameters: one each.  macs: one at each place that the weight is used at.  synops: the same
        times how often its input channel is non-zero.
        """
        prices = {name: self._price(name, quantity, density) for name in self.sizes()}
        masked = sum(self.sizes().values())
        leaves = sum(self._whole.shapes[leaf].numel() for leaf in self._whole.parameters)
        rest = leaves - masked if quantity == "parameters" else 0
        return lambda keep: rest + sum(float(p[keep[n]].sum()) for n, p in prices.items())

    def _price(self, name: str, quantity: str, density: Mapping[str, Tensor]) -> Tensor:
        """What each unit of a weight costs, [units]."""
        weight = self.masks.weights[name]
        price = torch.zeros(weight.shape, dtype=torch.float64)
        if quantity == "parameters":
            return self.masks.units_of(name, price) + 1
        names = next(names for names in self._whole.leaves if name in names)
        for use in self._whole.uses:
            if use.layer in {n.rpartition(".")[0] for n in names}:
                inputs = density.get(use.layer, torch.ones(use.into[0].numel())).to(torch.float64)
                axis = output_axis(self.model.get_submodule(use.layer))
                price += use.places * _of_each_weight(inputs, weight, use.groups, output=axis)
        return self.masks.units_of(name, price)

    def _timed(self, propose: Propose, *, fraction: float, least: int, most: int) -> int:
        raise AssertionError("refused in the constructor")

    def _removable(self) -> tuple[Structure, Keep]:
        return self._whole, unread(self.model, self._whole)

    def _before(self) -> None:
        self.masks.still()
        if self.optimizer is not None and self._forgotten != self.masks.version:
            self.masks.forget(self.optimizer)
            self._forgotten = self.masks.version

    def _after(self) -> None:
        self.masks.apply()

    def _magnitudes(self) -> dict[str, Tensor]:
        """|w| of every unit, [units]."""
        weights = self.masks.weights
        return {n: self.masks.units_of(n, weights[n].detach().abs()).cpu() for n in self.sizes()}

    def _random(self) -> dict[str, Tensor]:
        """A random number for every unit, [units], even in [0, 1)."""
        return {n: torch.rand(k, generator=self.generator) for n, k in self.sizes().items()}

    def _rates(self) -> dict[int, float]:
        """The learning rate of each parameter of the optimizer, by its id."""
        assert self.optimizer is not None
        groups = self.optimizer.param_groups
        return {id(p): float(group["lr"]) for group in groups for p in group["params"]}


def _of_each_weight(inputs: Tensor, weight: Tensor, groups: int, *, output: int) -> Tensor:
    """A value of each input channel, for the weights [C_out, C_in / groups, ...] that read it, or
    [C_in, C_out / groups, ...] where outputs are axis 1."""
    if output == 1:
        return inputs.reshape(-1, *[1] * (weight.dim() - 1)).expand(weight.shape)
    outputs, fan_in = weight.shape[:2]
    by_group = inputs.reshape(groups, fan_in).repeat_interleave(outputs // groups, 0)
    return by_group.reshape(outputs, fan_in, *[1] * (weight.dim() - 2)).expand(weight.shape)
