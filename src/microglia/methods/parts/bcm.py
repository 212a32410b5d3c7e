"""Spike traces of each channel, and their BCM plasticity with the layer before."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.frameworks import Observation
from microglia.methods.parts.part import Part
from microglia.methods.parts.scores import on_device
from microglia.methods.parts.watch import Watch
from microglia.structure import Site, Structure

DECAY = 0.5


class BCM(Part):
    """How each channel fires, and how that goes with what it is driven by.

        trace_t = trace_{t−1} / 2 + Σ_hw S_t        T_i = mean over t of trace_t, of each sample
        B_i = Σ_samples T_i (T_i − θ_i) Σ_j T_j     j: the channels that the layer reads

    with θ_i the running mean of T_i over all samples so far, and Σ_j T_j = 1 where what is read has
    no spikes (the network's input). A group with several neuron layers has the mean of their T.
    """

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.always = False
        self.samples = 0
        self.sums = {g.name: torch.zeros(3, g.size) for g in structure.groups}
        """Of T over all samples, and since `clear` of B and T."""
        self._watches = {
            g.name: [_Traces(self, site, g.size) for site in g.neurons] for g in structure.groups
        }
        self._drivers = _drivers(structure)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        for watch in (w for watches in self._watches.values() for w in watches):
            self._handles += watch.attach(model.get_submodule(watch.site.module))

    def collect(self) -> None:
        """The batch is over: add it."""
        means = {}
        for name, watches in self._watches.items():
            if seen := [watch.take() for watch in watches if watch.steps]:
                means[name] = torch.stack(seen).mean(0)
        if means:
            self.samples += len(next(iter(means.values())))
        for name, t in means.items():
            before = [means[d].sum(1) for d in self._drivers[name] if d in means]
            driven = torch.stack(before).sum(0) if before else t.new_ones(len(t))
            sums = on_device(self.sums, name, t.device)
            sums[0] += t.sum(0)
            theta = sums[0] / self.samples
            sums[1] += (t * (t - theta) * driven[:, None]).sum(0)
            sums[2] += t.sum(0)

    def skip(self) -> None:
        """The batch is over, whether or not a step came of it."""
        self.collect()

    def activity(self) -> dict[str, tuple[Tensor, Tensor]]:
        """B and the sum of T of each channel, since `clear`."""
        found = {}
        for name, sums in self.sums.items():
            total = sums[1:].clone()
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(total)
            found[name] = (total[0].cpu(), total[1].cpu())
        return found

    def clear(self) -> None:
        """Start afresh, but for the running mean."""
        for sums in self.sums.values():
            sums[1:].zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"samples": self.samples, "sums": {k: v.clone() for k, v in self.sums.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.samples = state["samples"]
        self.sums = {k: v.clone() for k, v in state["sums"].items()}


class _Traces(Watch):
    """The traces of one neuron layer's channels, of each sample."""

    def __init__(self, listener: BCM, site: Site, size: int) -> None:
        super().__init__(listener)
        self.site, self.size = site, size
        self.mine = (site.channel >= 0).nonzero().flatten()
        self.trace: Tensor = torch.zeros(())
        self.total: Tensor = torch.zeros(())
        self.steps = 0

    def add(self, seen: Observation, *, multi_step: bool) -> None:
        spikes = seen.spikes if multi_step else seen.spikes.unsqueeze(0)
        placed = spikes.movedim(self.site.dim, 2)
        rows = placed.reshape(*placed.shape[:3], -1).float().sum(-1)  # [T, N, positions]
        channel = self.site.channel[self.mine].to(rows.device)
        channels = rows.new_zeros(*rows.shape[:2], self.size)
        channels.index_add_(2, channel, rows[..., self.mine.to(rows.device)])
        for s in channels:
            if self.steps and len(s) != len(self.trace):
                self.steps = 0  # another batch
            self.trace = DECAY * self.trace + s if self.steps else s
            self.total = self.total + self.trace if self.steps else self.trace
            self.steps += 1

    def take(self) -> Tensor:
        """T of the batch, `[N, size]`; the next one starts afresh."""
        steps, self.steps = self.steps, 0
        return self.total / steps


def _drivers(structure: Structure) -> dict[str, list[str]]:
    """The groups whose channels the layers of each group read."""
    names = [g.name for g in structure.groups]
    reads: dict[str, list[str]] = {}
    for group in structure.groups:
        places = [use.into[0] for use in structure.uses if use.layer in group.layers]
        found = {int(i) for into in places for i in into.unique() if i >= 0}
        reads[group.name] = [names[i] for i in sorted(found)]
    return reads
