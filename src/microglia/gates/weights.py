"""Masks of single weights: a closed weight is zero, and the mask keeps it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.errors import ConfigError
from microglia.frameworks import WEIGHT_GATE, refuse_masked
from microglia.structure import Keep


class WeightMasks:
    """The masks of some of a network's weights; `set` and `keep` them, `apply` them, `remove` them.

        w_i = 0 where m_i = 0

    The mask of `layer.weight` is the buffer `weight_gate` of the layer, True where a weight is
    open. The network runs as it is: zeros are in the weights themselves, whose gradient is
    therefore the dense one, dL/dw_i also where w_i is closed. An optimizer moves closed weights too
    (momentum, weight decay), so `apply` follows each of its steps.

    In `keep` and `set` masks are flat, [numel]; or [units], where `units` says which of a weight's
    elements are units to prune, boolean in its shape. The mask of other elements only `put`
    changes.

    Raises:
        ConfigError: the network has masks already.
    """

    version = 0
    """Counts the changes of the masks."""

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        *,
        units: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model = model
        self._units = dict(units or {})
        self._weights: dict[str, nn.Parameter] = {}
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        refuse_masked(model)
        for name in names:
            path, _, attribute = name.rpartition(".")
            owner = model.get_submodule(path)
            buffer = attribute + WEIGHT_GATE
            self._weights[name] = model.get_parameter(name)
            self._owners[name] = (owner, buffer)
        for name, (owner, buffer) in self._owners.items():
            mask = torch.ones_like(self._weights[name], dtype=torch.bool)
            owner.register_buffer(buffer, mask)

    @property
    def attached(self) -> bool:
        """Whether they are in the network still."""
        return bool(self._owners)

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters that are masked, by name."""
        return dict(self._weights)

    def mask(self, name: str) -> Tensor:
        """The mask of one weight, in its shape and on its device."""
        owner, buffer = self._owners[name]
        mask: Tensor = getattr(owner, buffer)
        return mask

    def sizes(self) -> dict[str, int]:
        """Units of each weight that has some."""
        counts = {name: len(self.units_of(name, w)) for name, w in self._weights.items()}
        return {name: count for name, count in counts.items() if count}

    def units_of(self, name: str, values: Tensor) -> Tensor:
        """Of a value for each element of a weight, those of its units, flat."""
        units = self._units.get(name)
        return values.flatten() if units is None else values[units.to(values.device)]

    def keep(self) -> dict[str, Tensor]:
        """The open units, boolean `[numel]` or `[units]`, on the CPU."""
        kept = {name: self.units_of(name, self.mask(name)) for name in self._owners}
        return {name: mask.cpu().clone() for name, mask in kept.items() if len(mask)}

    def set(self, keep: Keep) -> None:
        """Open and close weights, and make the closed ones zero; opened ones stay what they are.

        Raises:
            ConfigError: a mask that fits no weight, or would empty one.
        """
        for name, mask in keep.items():
            if name not in self._owners or mask.dtype != torch.bool:
                raise ConfigError(f"{name}: no boolean mask of a weight that is pruned")
            size = len(self.units_of(name, self._weights[name]))
            if mask.numel() != size or not bool(mask.any()):
                raise ConfigError(
                    f"{name}: wanted a mask of {size} weights that leaves one at least, got "
                    f"{mask.numel()} of which {int(mask.sum())} stay"
                )
        self.version += 1
        for name, mask in keep.items():
            mine = self.mask(name)
            units = self._units.get(name)
            if units is None:
                mine.copy_(mask.reshape(mine.shape))
            else:
                mine[units.to(mine.device)] = mask.to(mine.device)
        self.apply()

    def put(self, name: str, mask: Tensor) -> None:
        """The whole mask of a weight, in its shape, units or not."""
        self.version += 1
        self.mask(name).copy_(mask)
        self.apply()

    @torch.no_grad()
    def apply(self, network: nn.Module | None = None) -> None:
        """Make the closed weights zero, here or in another network of the same layers."""
        for name, weight in self._weights.items():
            if network is not None:
                weight = network.get_parameter(name)
            weight.mul_(self.mask(name).to(weight.device))

    @torch.no_grad()
    def still(self) -> None:
        """Take the gradient of closed weights away."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self.mask(name))

    @torch.no_grad()
    def forget(self, optimizer: Optimizer) -> None:
        """Clear what an optimizer remembers of closed weights, so that none moves or comes back
        by its momentum."""
        for name, weight in self._weights.items():
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(self.mask(name))

    def remove(self) -> None:
        """Take the masks out; closed weights stay zero."""
        for owner, buffer in self._owners.values():
            owner._buffers.pop(buffer, None)
            owner._non_persistent_buffers_set.discard(buffer)
        self._owners.clear()
