"""NDSNN: a sparse network that loses weights while they move about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts.budget import units_left
from microglia.methods.parts.scope import in_proportion, top
from microglia.methods.parts.scores import erdos_renyi
from microglia.methods.rewiring import RewiringPruner


class NDSNN(RewiringPruner):
    """Neurogenesis dynamics: more weights close than open, until the budget is reached.

        start   n_l(0) random weights of layer l
        update  close the d(x) n_l weights of smallest |w|, more if n_l(x) asks for it
                open the ones of largest |dL/dw|, up to n_l(x)

        n_l(x) = n_l(1) + (n_l(0) − n_l(1)) (1 − x)³
        d(x)   = d₁ + (d₀ − d₁) (1 + cos π x) / 2         x = (t − warmup) / (total_steps − warmup)

    n_l(0) and n_l(1) share out the initial sparsity and the budget by Erdős-Rényi (see `ESL`). Only
    from x = 1 on is the budget kept to.

    Args:
        total_steps: at which x = 1; None for `until`.
        initial: the sparsity at the start; no more than the budget's.
        rate: d₀, the fraction of the open weights that closes at first.
        least_rate: d₁, the fraction at the end and after it.
        scope: "global" shares out by Erdős-Rényi, "layer" the same fraction of each layer.
        The others: see `RewiringPruner`.

    Raises:
        ConfigError: no end, or a setting out of range.

    Source: Huang et al., "Neurogenesis dynamics-inspired spiking neural network training
    acceleration", DAC 2023. Both laws are known; no code was found, and the settings (initial 0.5,
    d₀ 0.5, d₁ 0.05) and that closed weights wait for an update are this package's.
    """

    name = "ndsnn"
    source = "Huang et al., DAC 2023"
    grow_by = "gradient"

    def __init__(
        self,
        model: nn.Module,
        *,
        total_steps: int | None = None,
        initial: float = 0.5,
        rate: float = 0.5,
        least_rate: float = 0.05,
        **settings: Any,
    ) -> None:
        until = settings.get("until")
        length = until if total_steps is None else total_steps
        least = settings.get("warmup") or 0
        if type(length) is not int or length <= least or length > (until or math.inf):
            raise ConfigError(
                "'ndsnn' comes down to its budget at step total_steps, or else until: one of them, "
                f"after warmup={least} and not after until={until}; got {length!r}"
            )
        if not 0 <= initial < 1:
            raise ConfigError(f"initial is the sparsity at the start, in [0, 1); got {initial!r}")
        if not 0 <= least_rate <= rate <= 1:
            raise ConfigError(
                "rate and least_rate are fractions of the open weights, the latter the smaller; "
                f"got {rate!r} and {least_rate!r}"
            )
        self.total_steps, self.initial = length, initial
        self.rate, self.least_rate = rate, least_rate
        super().__init__(model, **settings)

    @property
    def x(self) -> float:
        """How far it has come, from 0 to 1."""
        warmup = self.schedule.warmup
        return min(1.0, max(0.0, (self.steps - warmup) / (self.total_steps - warmup)))

    @property
    def d(self) -> float:
        """The fraction that closes after the steps taken."""
        return self.least_rate + (self.rate - self.least_rate) * 0.5 * (
            1 + math.cos(math.pi * self.x)
        )

    def _acts(self, step: int) -> bool:
        return step == self.total_steps or super()._acts(step)

    def _update(self) -> Change:
        counts = self._counts()
        if not self.changes:
            return self._apply({n: top(r, counts[n]) for n, r in self._random().items()})
        return self._apply(self._rewired(counts, self.d))

    def _counts(self) -> dict[str, int]:
        """n_l(x)."""
        sizes, p = self.sizes(), self.budget.sparsity
        anything = {name: torch.arange(size, 0, -1) for name, size in sizes.items()}
        scores = in_proportion(anything, erdos_renyi(self.masks.weights))
        last = _count(self._within_budget(partial(self._best, scores)))
        count = max(units_left(sizes, self.initial), sum(last.values()))
        if isinstance(p, Mapping):
            first = {name: units_left({name: size}, self.initial) for name, size in sizes.items()}
        else:
            first = _count(self._best(scores, count))
        left = (1 - self.x) ** 3
        return {n: k + round(left * max(0, first[n] - k)) for n, k in last.items()}


def _count(keep: Mapping[str, torch.Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in keep.items()}
