"""Masks that live inside the network and travel with its `state_dict`.

A closed channel's input current is zero, so its neurons stay silent and every reader sees what
it will see once the channel is gone:

    x_c  <-  m_c * x_c        forward,  m in {0, 1}
    dL/dx_c passes unchanged  backward (straight-through), as far as the norm's scale

so the scale of a closed channel keeps the gradient that it would have if the channel were open,
and can tell how much it would help (compare RigL's dense gradient). There the gradient stops: what
lies before a closed channel learns nothing from it, and training the gated network is training the
compacted one. In the code released with SCA closed channels run unmasked between updates, and the
gradient of their scale is zero at the masking step; the gate is a choice of this package.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from microglia.frameworks import GATE, Hook, first_tensor, refuse_masked
from microglia.structure import Group, Keep, Site, Structure


class _Silence(torch.autograd.Function):
    """Zero some channels; the gradient passes as if they were open."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, closed: Tensor) -> Tensor:
        return x.index_fill(dim, closed, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, None, None]:
        return grads[0], None, None


def _stop(x: Tensor, dim: int, closed: Tensor) -> None:
    """Let no gradient of the closed channels further back than this tensor."""
    if closed.numel() and x.requires_grad and torch.is_grad_enabled():
        x.register_hook(lambda grad: grad.index_fill(dim, closed, 0.0))


class ChannelGate(Hook):
    """Silences the closed channels of one group at one place."""

    def __init__(self, owner: nn.Module, group: Group, site: Site) -> None:
        self.owner = owner
        self.dim = site.dim
        self.in_place = site.in_place
        self.normed = bool(site.norms)
        mine = site.channel >= 0
        self._positions = mine.nonzero().flatten()
        # Where the state of each of these channels stands in the owner's buffer.
        first = torch.zeros(group.size, dtype=torch.long)
        rows = (group.owner >= 0).nonzero().flatten().flip(0)
        first[group.owner[rows]] = rows
        self._rows = first[site.channel[mine]]
        self._seen: tuple[Tensor, int] | None = None
        self._closed = torch.empty(0, dtype=torch.long)

    def closed(self) -> Tensor:
        """The closed positions along the channel axis, read again whenever the mask changed."""
        mask: Tensor = getattr(self.owner, GATE)
        if self._seen is None or self._seen[0] is not mask or self._seen[1] != mask._version:
            self._seen = (mask, mask._version)
            shut = ~mask.cpu()[self._rows]
            self._closed = self._positions[shut].to(mask.device)
        return self._closed

    def __call__(self, x: Tensor) -> Tensor:
        closed = self.closed()
        if closed.numel() == 0:
            return x
        if not self.normed:
            _stop(x, self.dim, closed)
        if self.in_place and 0 not in x.stride():
            # Nobody else reads this memory and no backward needs it, so autograd need not know:
            # that is the straight-through gradient.
            x.data.index_fill_(self.dim, closed, 0.0)
            return x
        silent: Tensor = _Silence.apply(x, self.dim, closed)
        return silent


class _Stop(Hook):
    """In front of a norm: its scale has had the gradient, nobody before it gets any."""

    def __init__(self, gate: ChannelGate) -> None:
        self.gate = gate

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        _stop(args[0], self.gate.dim, self.gate.closed())


class _OnInput(Hook):
    def __init__(self, gate: ChannelGate) -> None:
        self.gate = gate

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.gate(args[0]), *args[1:])


class _OnOutput(Hook):
    def __init__(self, gate: ChannelGate) -> None:
        self.gate = gate

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return self.gate(output)
        return (self.gate(first_tensor(output)), *output[1:])


class Gates:
    """The gates of a network: `set` and `keep` their masks, `remove` them again.

    The mask of a group is the buffer `channel_gate` of the layer that computes it first: True
    where a channel is open.

    Raises:
        ConfigError: the network has gates already.
    """

    version = 0
    """Counts the changes of the masks."""

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.model = model
        self.structure = structure
        self._handles: list[Any] = []
        self._owners: list[nn.Module] = []
        refuse_masked(model)
        for group in structure.groups:
            owner = model.get_submodule(group.layers[0])
            if GATE not in owner._buffers:
                device = next((p.device for p in owner.parameters()), torch.device("cpu"))
                mask = torch.ones(group.owner.numel(), dtype=torch.bool, device=device)
                owner.register_buffer(GATE, mask)
                self._owners.append(owner)
            for site in group.gates:
                gate = ChannelGate(owner, group, site)
                module = model.get_submodule(site.module)
                self._handles.append(
                    module.register_forward_pre_hook(_OnInput(gate))
                    if site.side == "input"
                    else module.register_forward_hook(_OnOutput(gate))
                )
                for norm in site.norms:
                    before = ChannelGate(owner, group, replace(site, channel=group.norms[norm]))
                    handle = model.get_submodule(norm).register_forward_pre_hook(_Stop(before))
                    self._handles.append(handle)

    @property
    def attached(self) -> bool:
        """Whether they are in the network still."""
        return bool(self._owners)

    def keep(self) -> dict[str, Tensor]:
        """The open channels of each group, boolean `[size]` on the CPU."""
        masks = {}
        for group in self.structure.groups:
            buffer: Tensor = getattr(self.model.get_submodule(group.layers[0]), GATE)
            mine = group.owner >= 0
            mask = torch.ones(group.size, dtype=torch.bool)
            mask[group.owner[mine]] = buffer.cpu()[mine]
            masks[group.name] = mask
        return masks

    def set(self, keep: Keep) -> None:
        """Open and close channels; groups that are not named stay as they are.

        Raises:
            ConfigError: a mask that fits no group, or would empty one.
        """
        self.structure.validate(keep)
        self.version += 1
        for group in self.structure.groups:
            if group.name in keep:
                buffer: Tensor = getattr(self.model.get_submodule(group.layers[0]), GATE)
                mine = (group.owner >= 0).to(buffer.device)
                values = keep[group.name].cpu()[group.owner[group.owner >= 0]]
                buffer[mine] = values.to(buffer.device)

    def remove(self) -> None:
        """Take the hooks and buffers out: the user's own classes and keys again."""
        for handle in self._handles:
            handle.remove()
        for owner in self._owners:
            owner._buffers.pop(GATE, None)
            owner._non_persistent_buffers_set.discard(GATE)
        self._handles.clear()
        self._owners.clear()
