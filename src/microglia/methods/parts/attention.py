"""Where a network looks, beside where its teacher does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from microglia.errors import ConfigError
from microglia.frameworks import Hook, first_tensor, neuron_kind, reset, spiking_neurons
from microglia.methods.parts.part import Part


class Attention(Part):
    """The distance between a teacher's activity maps and the network's, on the batch at hand.

        D = Σ_j mean over samples of ‖ Q_S / ‖Q_S‖ − Q_T / ‖Q_T‖ ‖₂
        Q = Σ_c A_c²,    A_c: spikes of channel c of neuron layer j at each place, over timesteps

    The teacher runs on whatever the network is called with in training mode, before it; `distance`
    ends the batch, and the teacher starts afresh with the next one: nothing lasts longer. Layers
    without places (linear ones) don't count.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        self.model, self.teacher = model, teacher.eval()
        self.teaching = False
        self.counts: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        """Spikes of each layer over the timesteps so far, [N, C, H, W]: network, teacher."""
        self._handles = [model.register_forward_pre_hook(_Teach(self), with_kwargs=True)]
        for network, counts in zip((model, teacher), self.counts, strict=True):
            for name, module in spiking_neurons(network).items():
                watch = _Count(self, name, counts, of_teacher=network is teacher)
                self._handles.append(module.register_forward_hook(watch))

    def teach(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Run the teacher on the same inputs."""
        if not self.counts[1]:
            reset(self.teacher)
            self.teacher.to(next(self.model.parameters()).device)
        self.teaching = True
        try:
            with torch.no_grad():
                self.teacher(*args, **kwargs)
        finally:
            self.teaching = False

    def distance(self) -> Tensor:
        """D of the calls since the last time."""
        total = torch.zeros((), device=next(self.model.parameters()).device)
        mine, theirs = self.counts
        for name in [name for name in mine if name in theirs]:  # a set has another order each run
            total = total + (_map(mine[name]) - _map(theirs[name])).norm(dim=1).mean()
        self.clear()
        return total

    def clear(self) -> None:
        """The next call is the first of a batch."""
        for counts in self.counts:
            counts.clear()

    def remove(self) -> None:
        """Take the hooks out of both networks."""
        super().remove()
        self.clear()


def check_teacher(model: nn.Module, teacher: Any) -> None:
    """Raises ConfigError where the teacher isn't another network of the same shape."""
    if not isinstance(teacher, nn.Module) or teacher is model:
        what = "the network itself" if teacher is model else f"a {type(teacher).__name__}"
        raise ConfigError(f"teacher: wanted another network, trained and dense; got {what}")
    mine, theirs = _shapes(model), _shapes(teacher)
    for name in [*mine, *theirs]:
        if mine.get(name) != theirs.get(name):
            raise ConfigError(
                f"teacher: wanted a network of the same shape; '{name}' is "
                f"{theirs.get(name, 'missing')} there and {mine.get(name, 'missing')} here. "
                "Take this network, trained densely"
            )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def _map(counts: Tensor) -> Tensor:
    """Q / ‖Q‖ of each sample, [N, H W]."""
    return normalize(counts.square().sum(1).flatten(1), dim=1)


class _Silent(Hook):
    """A hook whose copies, in copies of the network, do nothing."""

    def __init__(self, attention: Attention) -> None:
        self.attention: Attention | None = attention

    def __deepcopy__(self, memo: dict[int, Any]) -> _Silent:
        copy = type(self).__new__(type(self))
        copy.attention = None
        return copy


class _Teach(_Silent):
    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self.attention is not None and module.training:
            self.attention.teach(args, kwargs)


class _Count(_Silent):
    def __init__(
        self, attention: Attention, name: str, counts: dict[str, Tensor], *, of_teacher: bool
    ) -> None:
        super().__init__(attention)
        self.name, self.counts, self.of_teacher = name, counts, of_teacher

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        attention = self.attention
        if attention is None or not attention.model.training:
            return
        if attention.teaching != self.of_teacher:
            return  # somebody else runs the teacher
        spikes = first_tensor(output)
        kind = neuron_kind(module)
        if kind is not None and kind.multi_step(module):
            spikes = spikes.sum(0)
        if spikes.dim() > 2:
            before = self.counts.get(self.name)
            if before is not None and before.shape != spikes.shape:
                raise ConfigError(
                    f"{self.name}: wanted one batch since the last penalty(), got shapes "
                    f"{tuple(before.shape)} and {tuple(spikes.shape)}; call penalty() once a "
                    "batch, after the network"
                )
            self.counts[self.name] = spikes if before is None else before + spikes
