"""How important is a channel? Running means of activity, and norms of filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import Observation
from microglia.methods.parts.part import Part
from microglia.methods.parts.watch import Watch
from microglia.structure import Group, Keep, Site, Structure, output_axis

Activity = Literal["membrane", "released", "rate"]


class ActivityScore(Part):
    """The mean activity of each channel while the network runs, over time, batch and space.

        membrane   A_c = mean |H|          H: potential after charging, before reset
        released   A_c = mean (S + |V|)    V: potential after reset (SCA's released code)
        rate       A_c = mean S            the firing rate, spikes a timestep

    A group read by several neuron layers (a residual stream) gets the mean over them. Only sums
    are held, never a spike train. `samples` bounds the samples looked at in each batch; batches
    are shuffled, so the mean is unbiased and its cost stays small. Calls in eval mode don't count
    unless `always` is set; those that no optimizer step comes of do.
    """

    def __init__(
        self, model: nn.Module, structure: Structure, *, kind: Activity, samples: int | None
    ) -> None:
        self.structure = structure
        self.sums = {g.name: torch.zeros(len(g.neurons), g.size) for g in structure.groups}
        self.counts = {g.name: torch.zeros(len(g.neurons), g.size) for g in structure.groups}
        self.always = False
        self._handles: list[Any] = []
        for group in structure.groups:
            for row, site in enumerate(group.neurons):
                watch = _Watch(self, group.name, row, site, kind, samples)
                self._handles += watch.attach(model.get_submodule(site.module))

    def mean(self) -> dict[str, Tensor]:
        """The score of each channel of each group, `[size]`, over everything seen since `clear`.

        Under torch.distributed the sums of all ranks are added first, so every rank agrees.
        """
        scores = {}
        for group in self.structure.groups:
            total, count = self.sums[group.name].clone(), self.counts[group.name].clone()
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(total)
                dist.all_reduce(count)
            scores[group.name] = (total / count.clamp(min=1)).mean(0).cpu()
        return scores

    def clear(self) -> None:
        """Start afresh."""
        for tensor in (*self.sums.values(), *self.counts.values()):
            tensor.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {
            "sums": {k: v.clone() for k, v in self.sums.items()},
            "counts": {k: v.clone() for k, v in self.counts.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the sums of `state_dict`."""
        for mine, theirs in ((self.sums, state["sums"]), (self.counts, state["counts"])):
            for name in mine:
                mine[name] = theirs[name].clone()


def on_device(tensors: dict[str, Tensor], name: str, device: torch.device) -> Tensor:
    """A tensor of the dict, moved to the device (in the dict too) if it is elsewhere."""
    if tensors[name].device != device:
        tensors[name] = tensors[name].to(device)
    return tensors[name]


class _Watch(Watch):
    """Adds one call of one neuron layer to the sums of one group."""

    def __init__(
        self,
        score: ActivityScore,
        group: str,
        row: int,
        site: Site,
        kind: Activity,
        samples: int | None,
    ) -> None:
        super().__init__(score, samples)
        self.score, self.group, self.row, self.site, self.kind = score, group, row, site, kind
        self.mine = (site.channel >= 0).nonzero().flatten()
        self.channel = site.channel[self.mine]

    def add(self, seen: Observation, *, multi_step: bool) -> None:
        activity = self._activity(seen)
        axis = activity.dim() + self.site.dim
        others = [d for d in range(activity.dim()) if d != axis]
        total = activity.sum(others, dtype=torch.float32)
        if self.channel.device != total.device:  # sums stay where the network runs
            self.mine, self.channel = self.mine.to(total.device), self.channel.to(total.device)
        sums = on_device(self.score.sums, self.group, total.device)
        counts = on_device(self.score.counts, self.group, total.device)
        count = torch.full_like(total, activity.numel() / activity.shape[axis])
        sums[self.row].index_add_(0, self.channel, total[self.mine])
        counts[self.row].index_add_(0, self.channel, count[self.mine])

    def _activity(self, seen: Observation) -> Tensor:
        if self.kind == "rate":
            return (seen.spikes != 0).to(seen.spikes.dtype)
        if self.kind == "membrane" and seen.membrane is not None:
            return seen.membrane.abs()
        if self.kind == "released" and seen.released is not None:
            return seen.spikes + seen.released.abs()
        raise ConfigError(
            f"{self.site.module}: score='{self.kind}' needs a membrane potential that this neuron "
            "does not let be known; use score='rate'"
        )


def filter_magnitude(model: nn.Module, structure: Structure) -> dict[str, Tensor]:
    """The mean |w| of the weights that compute each channel, over the layers that add into it.

    The mean, not the sum, so that layers of different fan-in can be ranked together.
    """
    return filter_means(model, structure, lambda name: model.get_parameter(name).detach().abs())


def filter_means(
    model: nn.Module, structure: Structure, value: Callable[[str], Tensor]
) -> dict[str, Tensor]:
    """The mean over each channel's filters of a value of each weight, by the weights' names."""
    means = {}
    for group in structure.groups:
        total, count = torch.zeros(group.size), torch.zeros(group.size)
        for name, axis, channel in filters(model, structure, group):
            rows = value(name).transpose(0, axis).flatten(1).mean(1).float().cpu()
            mine = channel >= 0
            total.index_add_(0, channel[mine], rows[mine])
            count.index_add_(0, channel[mine], torch.ones(int(mine.sum())))
        means[group.name] = total / count.clamp(min=1)
    return means


def filters(
    model: nn.Module, structure: Structure, group: Group
) -> Iterator[tuple[str, int, Tensor]]:
    """The weights that compute a group's channels: name, axis of the filters, channel of each."""
    for cut in group.cuts:
        name = structure.leaves[cut.leaf][0]
        layer = name.rpartition(".")[0]
        if cut.leaf not in structure.parameters or len(structure.shapes[cut.leaf]) < 2:
            continue
        if layer in group.layers and cut.dim == output_axis(model.get_submodule(layer)):
            yield name, cut.dim, cut.channel


def open_filters(
    model: nn.Module, structure: Structure, keep: Keep
) -> list[tuple[str, int, Tensor]]:
    """Each weight that computes prunable channels, its filters' axis, and which are open."""
    stays: dict[tuple[str, int], Tensor] = {}
    for group in structure.groups:
        for name, axis, channel in filters(model, structure, group):
            mine = channel >= 0
            rows = stays.setdefault((name, axis), torch.ones(len(channel), dtype=torch.bool))
            rows[mine] &= keep[group.name].cpu()[channel[mine]]
    return [
        (name, axis, rows.nonzero().flatten().to(model.get_parameter(name).device))
        for (name, axis), rows in stays.items()
    ]


def norm_scales(model: nn.Module, group: Group) -> Iterator[tuple[str, Tensor]]:
    """The scales of the norms in front of a group's neurons: name, channel of each position."""
    for norm in dict.fromkeys(name for site in group.gates for name in site.norms):
        if isinstance(model.get_submodule(norm).weight, nn.Parameter):
            yield f"{norm}.weight", group.norms[norm]


def norm_means(
    model: nn.Module, group: Group, value: Callable[[nn.Module], Tensor]
) -> Tensor | None:
    """The mean over a group's norms of a value of each of their channels; None if it has none."""
    total, count = torch.zeros(group.size), torch.zeros(group.size)
    for name, channel in norm_scales(model, group):
        of_each = value(model.get_submodule(name.rpartition(".")[0])).detach().float().cpu()
        mine = channel >= 0
        total.index_add_(0, channel[mine], of_each[mine])
        count.index_add_(0, channel[mine], torch.ones(int(mine.sum())))
    return total / count.clamp(min=1) if count.any() else None


def random_scores(structure: Structure, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniform random numbers, the score that knows nothing."""
    return {g.name: torch.rand(g.size, generator=generator) for g in structure.groups}


def erdos_renyi(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Shares of the layers in the weights of a random graph whose neurons have equal degrees.

        n_in + n_out of a linear layer,   n_in + n_out + k_h + k_w of a convolution

    Small layers are denser. Source: Mocanu et al., Nature Communications 2018; for convolutions
    Evci et al., ICML 2020.
    """
    return {name: float(sum(weight.shape)) for name, weight in weights.items()}


def lamp(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitude of each weight, `[numel]`: what it is of the layer that is left when
    all smaller ones are gone.

        s_u = w_u² / Σ_{|w_v| >= |w_u|} w_v²        equal weights in their order

    The largest weight of a layer scores 1, so that a global ranking empties none. Source: Lee et
    al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021.
    """
    squares = weight.detach().flatten().double().square().cpu()
    falling = torch.argsort(squares, descending=True, stable=True)
    left = squares[falling].cumsum(0)
    scores = torch.empty_like(squares)
    scores[falling] = squares[falling] / left.clamp(min=torch.finfo(left.dtype).tiny)
    return scores
