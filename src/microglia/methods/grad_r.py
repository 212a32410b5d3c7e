"""Grad R: synapses rewired by their gradient, under a prior that wants most of them gone."""

from __future__ import annotations

import math

from torch import Tensor

from microglia.methods.signed import SignedPruner


class GradR(SignedPruner):
    """Gradient rewiring: the gradient reaches closed synapses too, and a Laplace prior pulls.

        w = s · max(θ, 0)            dL/dθ := s · dL/dw, also where θ < 0
        θ ← θ − η α sign(θ − μ)      after the optimizer's step on dL/dθ
        μ = ln(2 (1 − s*)) / α       so that Laplace(μ, 1/α) has P(θ < 0) = s*

    A synapse's sign never flips. The sparsity rises with α; s* is the sparsity of the prior,
    1 - `density` and at least ½.

    Source: Chen et al., "Pruning of deep spiking neural networks through gradient rewiring",
    IJCAI 2021. The authors' code scales the pull with Adam's bias correction, which concerns the
    first steps alone; here it is η α under any optimizer, as decoupled weight decay is, and ends at
    μ where a whole step would pass it. What `strength` is by default is this package's choice.
    """

    name = "grad-r"
    source = "Chen et al., IJCAI 2021"

    def _slope(self, name: str, hidden: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def _push(self, name: str, hidden: Tensor, rate: float) -> Tensor:
        pull = rate * self.strength
        if not pull or self.steps <= self.schedule.warmup:
            return hidden
        sign = self._sign(name, hidden)
        centre = math.log(min(1.0, 2 * self._leans_to(name))) / self.strength
        return hidden - sign * (sign * hidden - centre).clamp(-pull, pull)
