"""ADMM: weights drawn towards the nearest network that keeps to the budget, then cut to it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts.held import Held
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scores import on_device
from microglia.methods.weights import WeightPruner


class ADMM(WeightPruner):
    """Alternating direction method of multipliers.

        W ← argmin L(W) + ρ/2 ‖W - Z + U‖²      by the loop's own optimizer, `every` steps
        Z ← Π(W + U)                            the k of largest |W + U|, the others zero
        U ← U + W - Z

    from Z = Π(W), U = 0 at the first update; before it nothing is drawn anywhere. At `until` the
    weights outside Z's support are closed, for good, and the rest of the training trains what is
    left. Until then nothing is closed. k is the budget's, over all layers or in each (`scope`).

    Args:
        every: optimizer steps between updates of Z and U.
        until: the step of the cut; needed.
        warmup: steps before the first update; None for the first `every`.
        rho: ρ, of `penalty()`, in the unit of the loss over that of the weights squared.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or no `until`.

    Source: Deng et al., "Comprehensive SNN compression using ADMM optimization and activity
    regularization", TNNLS 2021: its pruning alone. Where the alternation starts is not told, nor
    is ρ for networks of other sizes; both are this package's choice.
    """

    name = "admm"
    needs = "training"
    source = "Deng et al., TNNLS 2021"

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        until: int,
        warmup: int | None = None,
        rho: float = 0.1,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if until is None:
            raise ConfigError("'admm' closes weights at the step until=, and not before: give it")
        if not 0 < rho < math.inf:
            raise ConfigError(f"rho is the weight of a penalty, above 0; got {rho!r}")
        self.schedule = Interval(every, every if warmup is None else warmup, until)
        self.rho = rho
        super().__init__(model, **settings)
        weights = self.masks.weights.items()
        self._z = Held({name: w.detach().clone() for name, w in weights})
        self._u = Held({name: torch.zeros_like(w) for name, w in weights})
        self._parts |= {"z": self._z, "u": self._u}

    def penalty(self) -> Tensor:
        """What the method adds to the loss: ρ/2 ‖W - Z + U‖², from the first update to the cut."""
        total = super().penalty()
        if self.changes and not self._holding:
            for name, weight in self.masks.weights.items():
                z, u = self._auxiliary(name)
                total = total + (weight - z + u).square().sum()
        return self.rho / 2 * total

    @property
    def residual(self) -> float:
        """‖W - Z‖ / ‖W‖: how far the weights are from a network that keeps to the budget."""
        far = whole = 0.0
        for name, weight in self.masks.weights.items():
            w = weight.detach()
            far += float((w - self._auxiliary(name)[0]).square().sum())
            whole += float(w.square().sum())
        return math.sqrt(far / whole) if whole else 0.0

    def _auxiliary(self, name: str) -> tuple[Tensor, Tensor]:
        """Z and U of a weight."""
        device = self.masks.weights[name].device
        return on_device(self._z.tensors, name, device), on_device(self._u.tensors, name, device)

    def _due(self) -> bool:
        return self.schedule.due_or_last(self.steps)

    @torch.no_grad()
    def _update(self) -> Change:
        drawn = {n: w + self._auxiliary(n)[1] for n, w in self.masks.weights.items()}
        keep = self._chosen({name: v.abs().flatten().cpu() for name, v in drawn.items()})
        if self.steps == self.schedule.until:
            self._stand_still()
            return self._apply(keep)
        for name, weight in self.masks.weights.items():
            z, u = self._auxiliary(name)
            z.copy_(drawn[name] * keep[name].view(weight.shape).to(weight.device))
            if self.changes:
                u.add_(weight - z)
        self.changes += 1
        masks = self.masks.keep()
        return Change.between(masks, masks, step=self.steps, units=self.prunes)
