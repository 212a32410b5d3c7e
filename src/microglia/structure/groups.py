"""The channels of a network that can be removed, in groups that are cut alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest

Keep = Mapping[str, Tensor]
"""Which channels stay: a boolean mask `[size]` for each group's name; others stay whole."""


@dataclass(frozen=True)
class Cut:
    """One dimension of one tensor along which a group's channels lie."""

    leaf: int
    """Index into `Structure.leaves`."""
    dim: int
    channel: Tensor
    """For each position the channel of the group, -1 where the position isn't the group's."""


@dataclass(frozen=True)
class Site:
    """Where a group can be silenced or watched: the input of a neuron, or a module's output."""

    module: str
    side: Literal["input", "output"]
    dim: int
    """The channel axis, counted from the end."""
    channel: Tensor
    """For each position along `dim` the channel of the group, -1 for another's."""
    in_place: bool = False
    """Nobody else reads this memory, so a gate may write into it."""
    norms: tuple[str, ...] = ()
    """The norms whose output this is."""


@dataclass(frozen=True)
class Group:
    """Channels that are cut alike, each tied through every tensor that it touches."""

    name: str
    """The first layer that computes them."""
    size: int
    kind: Literal["conv", "linear", "recurrent"]
    layers: tuple[str, ...]
    """The synapse layers that compute these channels."""
    readers: tuple[str, ...]
    """The synapse layers that read them."""
    cuts: tuple[Cut, ...]
    gates: tuple[Site, ...]
    """Silencing the channel at all of these makes every reader see zero."""
    neurons: tuple[Site, ...]
    """The neurons that these channels drive."""
    norms: Mapping[str, Tensor]
    """Norm -> the channel of each position of its scale."""
    owner: Tensor
    """The channel of the group at each output of the layer `layers[0]`, -1 for another's."""
    stream: bool
    """A residual stream: several layers add into it."""


@dataclass(frozen=True)
class Use:
    """One use of a weight, for counting: which groups its rows and columns belong to."""

    layer: str
    kind: str
    out: tuple[Tensor, Tensor]
    """(index of the group, channel) of each output channel; -1 where it is fixed."""
    into: tuple[Tensor, Tensor]
    groups: int
    kernel: int
    places: int
    neurons: tuple[str, ...] = ()
    """The neuron layers whose spikes it is given, with no other neurons in between."""


def output_axis(layer: nn.Module) -> int:
    """The axis of a layer's weight that its outputs lie along: 1 if it is transposed, else 0."""
    return int(getattr(layer, "transposed", False))


@dataclass(frozen=True)
class Structure:
    """What a network is made of, as pruning sees it; `print` it."""

    network: str
    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    """Layers whose outputs stay, and why."""
    refused: Mapping[str, str]
    """Operations that are not known here, and where they were met."""
    leaves: tuple[tuple[str, ...], ...]
    """All names of each tensor that the network keeps."""
    shapes: tuple[torch.Size, ...]
    parameters: frozenset[int]
    """The leaves that are parameters."""
    uses: tuple[Use, ...]
    neurons: Mapping[str, torch.Size | None] = field(default_factory=dict)
    """Neuron layer -> shape of the current that enters it, None where calls differ in it."""

    def __getitem__(self, name: str) -> Group:
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(f"no group '{name}'; there are {', '.join(g.name for g in self.groups)}")

    def only(self, groups: Iterable[Group]) -> Structure:
        """The same network with only some of its groups open to pruning."""
        chosen = {g.name for g in groups}
        position = {i: n for n, i in enumerate(self._positions(chosen))}
        moved = torch.full((len(self.groups) + 1,), -1)
        for old, new in position.items():
            moved[old] = new
        uses = tuple(
            replace(
                use, out=(moved[use.out[0]], use.out[1]), into=(moved[use.into[0]], use.into[1])
            )
            for use in self.uses
        )
        return replace(self, groups=tuple(g for g in self.groups if g.name in chosen), uses=uses)

    def frozen(self, reasons: Mapping[str, str]) -> Structure:
        """The same structure with some groups closed to pruning, each with its reason."""
        left = self.only(g for g in self.groups if g.name not in reasons)
        fixed = dict(self.fixed)
        for name, reason in reasons.items():
            fixed.update(dict.fromkeys(self[name].layers, reason))
        return replace(left, fixed=fixed)

    def _positions(self, chosen: set[str]) -> list[int]:
        return [i for i, g in enumerate(self.groups) if g.name in chosen]

    def positions(self, keep: Keep) -> dict[tuple[int, int], Tensor]:
        """For each (leaf, dimension) that `keep` cuts, the positions that stay, ascending."""
        stays: dict[tuple[int, int], Tensor] = {}
        for group in self.groups:
            mask = keep.get(group.name)
            if mask is None or bool(mask.all()):
                continue
            for cut in group.cuts:
                where = (cut.leaf, cut.dim)
                if where not in stays:
                    stays[where] = torch.ones(self.shapes[cut.leaf][cut.dim], dtype=torch.bool)
                mine = cut.channel >= 0
                stays[where][mine] &= mask.cpu()[cut.channel[mine]]
        return {where: mask.nonzero().flatten() for where, mask in stays.items()}

    def everything(self) -> dict[str, Tensor]:
        """The mask that keeps every channel of every group."""
        return {g.name: torch.ones(g.size, dtype=torch.bool) for g in self.groups}

    def validate(self, keep: Keep) -> None:
        """Check that a mask fits the structure and empties no group.

        Raises:
            ConfigError: an unknown group, a wrong size, or a group that would be empty.
        """
        sizes = {g.name: g.size for g in self.groups}
        for name, mask in keep.items():
            if name not in sizes:
                raise ConfigError(f"there is no group '{name}'.{nearest(name, list(sizes))}")
            if mask.dtype != torch.bool or mask.shape != (sizes[name],):
                raise ConfigError(
                    f"{name}: wanted a boolean mask of {sizes[name]} channels, "
                    f"got {mask.dtype} of shape {tuple(mask.shape)}"
                )
            if not bool(mask.any()):
                raise ConfigError(f"{name}: the mask removes all {sizes[name]} channels; keep one")

    def __str__(self) -> str:
        from microglia.structure.show import table

        return table(self)
