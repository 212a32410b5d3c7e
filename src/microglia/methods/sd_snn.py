"""SD-SNN: channels pruned by how far their synapses may still move, and regenerated."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.held import Held
from microglia.methods.parts.ranges import SynapticRanges
from microglia.methods.parts.regrowth import GradientSignal
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scope import Scores, top
from microglia.methods.parts.scores import filter_means, filters
from microglia.structure import Group, Keep


class SDSNN(ChannelPruner):
    """Structural development: synaptic constraint, neuronal pruning, regeneration.

    Every `every` steps the ranges [R⁻, R⁺] of weights grow and shrink (see `SynapticRanges`); after
    κ updates weights are clamped to them. After the warm-up, at updates n = 0, 1, ..., with C_l the
    open channels of layer l:

        1. regenerate  the closed channels that were for more than κ updates in a row above the
                       min(99, 65 + 1.1ⁿ)-th percentile of their layer's |dL/dγ_c|
        2. prune       ρ_l += s e^(−n/5) C_l / C_next, from s/2; close the share ρ_l of layer l of
                       least  A_c = mean over c's weights of unit(R⁺ + |R⁻|)

    with unit() from 0 to 1 over a weight tensor. At `until` masks are projected to the budget, if
    any, by A.

    Args:
        every: optimizer steps between updates (the paper: one epoch, of 600).
        warmup: steps before which nothing is pruned; None for 2κ updates, or until `until`.
        until: the last step at which anything changes; None for no end.
        strength: s, a fraction of the layer (the paper: 0.01); about 6 s are closed in the end.
        kappa: κ, in updates. The paper's is 18 epochs: at the default of 2 one update stands for 9
            of its epochs where κ counts. The 5 of ρ's decay stay 5 updates.
        The others: see `ChannelPruner`.

    Source: Han, Zhao, Zeng, Pan, arXiv 2211.12219, and its code, where linear layers have a rule of
    their own and kernels regenerate by the weights that they regain between maskings; behind a gate
    weights stand still, so the gradient of the norm's scale speaks for them (`GradientSignal`).
    """

    name = "sd-snn"
    needs = "training"
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "emergent"
    source = "Han et al., Information Sciences 2025"

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        strength: float = 0.1,
        kappa: int = 2,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if not isinstance(strength, (int, float)) or not 0 <= strength < 1:
            raise ConfigError(f"strength is a fraction of a layer, in [0, 1); got {strength!r}")
        if type(kappa) is not int or kappa < 1:
            raise ConfigError(f"kappa is a number of updates, at least 1; got {kappa!r}")
        self.schedule = Interval(every, warmup or 0, until)
        if warmup is None:
            latest = 2 * kappa + 1 if until is None else until // every
            self.schedule = Interval(every, min(2 * kappa + 1, latest) * every, until)
        self.strength, self.kappa = strength, kappa
        super().__init__(model, **settings)
        groups = self.structure.groups
        names = {name for group in groups for name, *_ in filters(model, self.structure, group)}
        weights = {name: model.get_parameter(name).detach() for name in sorted(names)}
        self._ranges = SynapticRanges(weights, kappa=kappa)
        self._signal = GradientSignal(model, self.structure, samples=None)
        self._rho = Held({g.name: torch.tensor(strength / 2) for g in groups})
        self._called = Held({g.name: torch.zeros(g.size) for g in groups})
        self._parts |= {"ranges": self._ranges, "signal": self._signal}
        self._parts |= {"rho": self._rho, "called": self._called}

    def _due(self) -> bool:
        return self.schedule.due_or_last(self.steps)

    def _after(self) -> None:
        super()._after()
        if self._holding or self.steps % self.schedule.every:
            return
        if self.schedule.until is None or self.steps <= self.schedule.until:
            self._develop()
        if not self._due():
            self._signal.clear()  # what the warm-up showed says little of the network that follows

    @torch.no_grad()
    def _develop(self) -> None:
        """Ranges follow the weights, and later hold them."""
        for name in self._ranges.ranges:
            weight = self.model.get_parameter(name)
            self._ranges.look(name, weight.detach())
            if self.steps > self.kappa * self.schedule.every:
                self._ranges.constrain(name, weight)

    def _update(self) -> Change:
        before, signal = self.masks.keep(), self._signal.mean()
        self.last_scores = filter_means(self.model, self.structure, self._ranges.width)
        n = (self.steps - self.schedule.first) // self.schedule.every
        keep = {}
        for group in self.structure.groups:
            grown = self._regenerated(group.name, ~before[group.name], signal[group.name], n)
            there = before[group.name] | grown
            stay = group.size - math.floor(self._share(group, before, n) * group.size)
            ranked = self.last_scores[group.name] + grown - 2.0 * ~there  # who came back stays
            keep[group.name] = top(ranked, max(stay, self._least(group.name))) & there
        self._apply(self._in_multiples(keep, self.last_scores))
        self._signal.clear()
        if self.steps == self.schedule.until and self.budget.given:
            self.finalize()
        return Change.between(before, self.masks.keep(), step=self.steps, units=self.prunes)

    def _regenerated(self, group: str, closed: Tensor, signal: Tensor, n: int) -> Tensor:
        """The closed channels that come back."""
        share = min(0.99, (65 + 1.1 ** min(n, 99)) / 100)
        called = (self._called[group] + 1) * (closed & (signal > signal.quantile(share)))
        grown = called > self.kappa
        self._called[group] = called * ~grown
        return grown

    def _share(self, group: Group, keep: Keep, n: int) -> float:
        """ρ of a layer, raised for this update."""
        readers = [g for g in self.structure.groups if set(g.layers) & set(group.readers)]
        following = [int(keep[g.name].sum()) for g in readers] or [int(keep[group.name].sum())]
        ratio = int(keep[group.name].sum()) * len(following) / sum(following)
        rho = self._rho[group.name] + self.strength * math.exp(-n / 5) * ratio
        self._rho[group.name] = rho
        return float(rho)

    def _importance(self) -> Scores:
        """Open channels before closed ones, each by its score."""
        scores = filter_means(self.model, self.structure, self._ranges.width)
        return {name: scores[name] + mask for name, mask in self.masks.keep().items()}
