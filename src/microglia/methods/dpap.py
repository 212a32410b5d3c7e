"""DPAP: channels pruned that were little used for long, as the developing brain does."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.bcm import BCM
from microglia.methods.parts.held import Held
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scope import Scores, top

REACH = 60  # epochs of the paper in which a channel that is never used dies, with time to spare


class DPAP(ChannelPruner):
    """Developmental plasticity-inspired adaptive pruning: "use it or lose it, gradually".

    At every update, over the open channels of each layer, with B and T of `BCM` since the last:

        D = u(B) · u(T)                                                activity
        Δ = 2 u(D) − s,  and 5 more where that is positive
        R ← 0.999^a R + a Δ exp(−⌊a n / 12⌋),  from R = 10             survival
        close for good where R < 0

    n = 0, 1, ... counts updates after the warm-up, u(x) is 0 at the least x of the layer, 1 from
    its third quartile on. At `until` masks are projected to the budget, if any, by R.

    Args:
        every: optimizer steps between updates (the paper: one epoch, of 300).
        warmup: steps before which nothing is pruned (the paper: 5 epochs); None for the first
            `every`.
        until: the last step at which masks change; None for no end.
        strength: s, from 0 to 2: what a channel that isn't used loses (the paper: 0.65).
        pace: a, the paper's epochs that one update stands for. None spreads 60 of them over the
            updates until `until`: unused channels die in the first half. Without `until`, 1.
        The others: see `ChannelPruner`.

    Source: Han et al., "Developmental plasticity-inspired adaptive pruning for deep spiking and
    artificial neural networks", TPAMI 2024 (arXiv 2211.12714), and its code. Channels only: units
    and synapses of linear layers have other constants there. Since B sums over the neurons read,
    Σ_j B_ij, only their total trace is held. That B and T start afresh at updates, that u() looks
    at open channels alone, and what the first layer reads, are choices of this package.
    """

    name = "dpap"
    needs = "training"
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "emergent"
    source = "Han et al., TPAMI 2024"

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        strength: float = 0.65,
        pace: float | None = None,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        self.schedule = Interval(every, every if warmup is None else warmup, until)
        if not isinstance(strength, (int, float)) or not 0 <= strength <= 2:
            raise ConfigError(f"strength is what an unused channel loses, 0 to 2; got {strength!r}")
        if pace is None:
            pace = 1.0
            if until is not None:
                pace = max(1.0, REACH / ((until - self.schedule.first) // every + 1))
        if not isinstance(pace, (int, float)) or not 0 < pace < math.inf:
            raise ConfigError(f"pace is a number of the paper's epochs, above 0; got {pace!r}")
        self.strength, self.pace = strength, pace
        super().__init__(model, **settings)
        self._parts["bcm"] = self._bcm = BCM(model, self._whole)
        survival = {g.name: torch.full((g.size,), 10.0) for g in self.structure.groups}
        self._parts["survival"] = self._survival = Held(survival)

    def _due(self) -> bool:
        return self.schedule.due_or_last(self.steps)

    def _after(self) -> None:
        super()._after()
        if not self._holding and self.steps % self.schedule.every == 0 and not self._due():
            self._bcm.clear()  # what the warm-up showed says little of the network that follows

    def _update(self) -> Change:
        before, activity = self.masks.keep(), self._bcm.activity()
        n = max(0, self.steps - self.schedule.first) // self.schedule.every
        keep = {}
        for name, mask in before.items():
            b, t = (x[mask] for x in activity[name])
            old = self._survival[name]
            new = survival(old[mask], unit(b) * unit(t), n, strength=self.strength, pace=self.pace)
            self._survival[name] = old.masked_scatter(mask, new)
            stay = max(int((new >= 0).sum()), self._least(name))
            keep[name] = top(self._survival[name].masked_fill(~mask, -torch.inf), stay)
        self._apply(self._in_multiples(keep, self._importance()))
        self.last_scores = dict(self._importance())
        self._bcm.clear()
        if self.steps == self.schedule.until and self.budget.given:
            self.finalize()
        return Change.between(before, self.masks.keep(), step=self.steps, units=self.prunes)

    def _importance(self) -> Scores:
        return {g.name: self._survival[g.name] for g in self.structure.groups}


def unit(x: Tensor) -> Tensor:
    """From 0 at the least to 1 at the third quartile and above."""
    low, high = x.min(), x.quantile(0.75)
    return ((x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)).clamp(max=1.0)


def survival(old: Tensor, activity: Tensor, n: int, *, strength: float, pace: float) -> Tensor:
    """R of open channels after update n."""
    delta = 2 * unit(activity) - strength
    delta = delta + 5 * (delta > 0)
    kept: float = 0.999**pace
    return kept * old + pace * delta * math.exp(-math.floor(pace * n / 12))
