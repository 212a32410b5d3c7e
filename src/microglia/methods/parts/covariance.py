"""How do a layer's channels vary together? Covariances of their membrane potential."""

from __future__ import annotations

from collections import Counter

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import Observation
from microglia.methods.parts.watch import Watch
from microglia.structure import Site, Structure


class MembraneCovariance:
    """The covariance of the channels of each group, of their potential averaged over time.

        Ū = mean over t of H_t        C_ij = cov(Ū_i, Ū_j) over samples and space

    Only sums are held, in float64, never the samples. A group read by several neuron layers gets
    the mean of their covariances; a channel that a layer has at several positions (a flattened
    map) is seen at each. Call `close` after each batch: a network that is called once a timestep
    has then seen all of them.
    """

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.always = False
        self._watches: dict[str, list[_Moments]] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        for group in structure.groups:
            self._watches[group.name] = [_Moments(self, site, group.size) for site in group.neurons]
            for watch in self._watches[group.name]:
                self._handles += watch.attach(model.get_submodule(watch.site.module))

    def close(self) -> None:
        """A batch is over."""
        for watches in self._watches.values():
            for watch in watches:
                watch.close()

    def covariances(self) -> dict[str, Tensor]:
        """C of each group, `[size, size]`.

        Raises:
            ConfigError: no neuron showed its membrane potential for a group.
        """
        found = {}
        for name, watches in self._watches.items():
            seen = [watch.covariance() for watch in watches]
            if not seen:
                raise ConfigError(f"{name}: no spiking neuron is driven by it; protect it")
            found[name] = torch.stack(seen).mean(0).cpu()
        return found

    def remove(self) -> None:
        """Take the hooks out of the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Moments(Watch):
    """First and second moments of the channels at one neuron layer."""

    def __init__(self, listener: MembraneCovariance, site: Site, size: int) -> None:
        super().__init__(listener)
        self.site = site
        self.views = _each_channel_once(site.channel)
        self.counts = torch.zeros(size, size, dtype=torch.float64)
        self.sums = torch.zeros(size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)
        self.potential: Tensor | None = None
        self.steps = 0

    def add(self, seen: Observation, *, multi_step: bool) -> None:
        if seen.membrane is None:
            raise ConfigError(
                f"{self.site.module}: principal components are those of the membrane potential, "
                "which this neuron does not let be known; register it with one"
            )
        h = seen.membrane if multi_step else seen.membrane.unsqueeze(0)
        total = h.sum(0)
        self.potential = total if self.potential is None else self.potential + total
        self.steps += len(h)

    def close(self) -> None:
        if self.potential is None:
            return
        mean = self.potential.to(torch.float64) / self.steps
        rows = mean.movedim(self.site.dim, -1).flatten(0, -2)
        for positions in self.views:
            x = rows[:, positions.to(rows.device)]
            channel = self.site.channel[positions]
            self.counts[channel[:, None], channel] += len(x)
            self.sums[channel] += x.sum(0).cpu()
            self.products[channel[:, None], channel] += (x.T @ x).cpu()
        self.potential, self.steps = None, 0

    def covariance(self) -> Tensor:
        counts, sums, products = self.counts.clone(), self.sums.clone(), self.products.clone()
        if dist.is_available() and dist.is_initialized():
            for total in (counts, sums, products):
                dist.all_reduce(total)
        mean = sums / counts.diagonal().clamp(min=1)
        together = counts > 0
        return (products / counts.clamp(min=1) - torch.outer(mean, mean)) * together


def _each_channel_once(channel: Tensor) -> list[Tensor]:
    """Positions along a layer's channel axis, in sets with every channel at most once."""
    sets: list[list[int]] = []
    seen: Counter[int] = Counter()
    for position, c in enumerate(channel.tolist()):
        if c >= 0:
            if seen[c] == len(sets):
                sets.append([])
            sets[seen[c]].append(position)
            seen[c] += 1
    return [torch.tensor(positions) for positions in sets]
