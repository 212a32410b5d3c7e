"""Spike-Thrift: a sparse network whose weights move to the layers of most momentum."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts.attention import Attention, check_teacher
from microglia.methods.parts.scope import Scores, best, in_proportion, shares, top
from microglia.methods.rewiring import RewiringPruner
from microglia.structure import Keep


class SpikeThrift(RewiringPruner):
    """Attention-guided compression: one training, weights regrown where the momentum is.

        start   a random mask, the same fraction of each layer
        update  close the p weights of smallest |w| in each layer, as many in all open again:
                layer l gets its share of the momentum, μ_l / Σ μ,     μ_l = mean |m| of its open
                weights, and opens the closed ones of largest |m|

        p(t) = p · (1 − t / until),       constant without `until`

    What a layer has no room for goes to the others in proportion. With a teacher, the loss gets

        β/2 Σ_j ‖ Q_S / ‖Q_S‖ − Q_T / ‖Q_T‖ ‖₂       Q: maps of activity, see `Attention`

    Args:
        rate: p, the fraction of the open weights that closes at once.
        teacher: a trained dense network of the same shape, which is put in evaluation mode and run
            beside this one in every training batch; None for none. Call `penalty()` once a batch,
            after the network.
        attention: β.
        scope: "global" moves weights between layers, "layer" leaves each layer its number.
        The others: see `RewiringPruner`.

    Source: Kundu et al., "Spike-Thrift: towards energy-efficient deep spiking neural networks by
    limiting spiking activity via attention-guided compression", WACV 2021. No code was found; the
    mask's rule is that of sparse momentum (Dettmers and Zettlemoyer, 2019), which the paper builds
    on, with its p = 0.5. The paper trains a sparse ANN beside a dense one and converts it; here the
    spiking network is trained directly, activity is its spikes, and β = 0.1 is this package's: at
    1 the maps outweigh the labels. What the teacher says of the classes is `Distillation`'s.
    """

    name = "spike-thrift"
    source = "Kundu et al., WACV 2021"
    grow_by = "momentum"

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: float = 0.5,
        teacher: nn.Module | None = None,
        attention: float = 0.1,
        **settings: Any,
    ) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(f"rate is a fraction of the open weights, in [0, 1]; got {rate!r}")
        if not 0 <= attention < math.inf:
            raise ConfigError(f"attention is the weight of the maps, at least 0; got {attention!r}")
        if teacher is not None:
            check_teacher(model, teacher)
        self.rate, self.attention = rate, attention
        super().__init__(model, **settings)
        if teacher is not None:
            self._parts["attention"] = Attention(model, teacher)

    def penalty(self) -> Tensor:
        """β/2 of the distance between this batch's activity maps; nothing without a teacher."""
        maps = self._parts.get("attention")
        if not isinstance(maps, Attention):
            return super().penalty()
        self._check_attached()
        return 0.5 * self.attention * maps.distance()

    @property
    def p(self) -> float:
        """p after the steps taken."""
        until = self.schedule.until
        return self.rate if until is None else self.rate * max(0.0, 1 - self.steps / until)

    def _update(self) -> Change:
        if not self.changes:
            return self._prune(in_proportion(self._random(), self.sizes()))
        magnitudes, signal, now = self._magnitudes(), self._signal(), self.masks.keep()
        self.last_scores = magnitudes
        momentum = {name: float(signal[name][mask].mean()) for name, mask in now.items()}
        closed = {name: signal[name].masked_fill(mask, -torch.inf) for name, mask in now.items()}
        order = in_proportion(closed, momentum)
        order = {name: order[name].masked_fill(mask, -torch.inf) for name, mask in now.items()}
        return self._apply(
            self._within_budget(lambda count: self._propose(count, magnitudes, order, now))
        )

    def _propose(self, count: int, magnitudes: Scores, order: Scores, now: Keep) -> Keep:
        """The mask with `count` open: the largest of each layer, and those regrown by `order`."""
        keep: dict[str, Tensor] = {}
        for names, stay in self._shares(count):
            open_ = {name: int(now[name].sum()) for name in names}
            least = {name: self._least(name) for name in names}
            places = sum(now[name].numel() for name in names) - stay
            rate = min(self.p, places / sum(open_.values()))
            alive = {n: max(least[n], k - int(rate * k)) for n, k in open_.items()}
            if sum(alive.values()) > stay:
                alive = shares(alive, stay, least)
            again = best({name: order[name] for name in names}, stay - sum(alive.values()))
            for name in names:
                largest = top(magnitudes[name].masked_fill(~now[name], -torch.inf), alive[name])
                keep[name] = largest | again[name]
        return self._in_multiples(keep, magnitudes)
