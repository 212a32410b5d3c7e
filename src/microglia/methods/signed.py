"""What methods share whose weights come and go with a sign that is fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.errors import ConfigError
from microglia.methods.hidden import HiddenPruner
from microglia.methods.parts.held import Held
from microglia.methods.parts.scores import on_device

PULL = 0.6  # of each weight, over the run: about Grad R's own, 1e-3 for 6.4e6 steps of 1e-4


class SignedPruner(HiddenPruner):
    """A synapse of a fixed sign that is there while its θ is above zero.

        w = s · max(θ, 0)        s = sign(w₀), + where w₀ = 0        θ₀ = |w₀|

    When the masks are projected, the synapses of largest θ stay.

    Args:
        strength: α, how far θ is pulled for each unit of the learning rate, in the unit of the
            weights; None for a pull of 0.6 in `until` steps at the rate that the optimizer has, but
            at most ½.
        density: fraction of the synapses that the method leans to where nothing is learned, in
            (0, 1]; None for what the budget leaves (a tenth of it in soft Deep R), and 0.05 if the
            budget is no sparsity.
        The others: see `HiddenPruner`.

    Raises:
        ConfigError: a setting out of range, or neither `strength` nor `until`.
    """

    leaning: ClassVar[float] = 1.0
    """Of what the budget leaves, the density that is leant to."""

    def __init__(
        self,
        model: nn.Module,
        *,
        strength: float | None = None,
        density: float | None = None,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if strength is None and not settings.get("until"):
            raise ConfigError(f"'{self.name}' scales its strength to the run: give that or until=")
        check_strength(strength)
        if density is not None and not 0 < density <= 1:
            raise ConfigError(f"density is a fraction of the synapses, in (0, 1]; got {density!r}")
        super().__init__(model, **settings)
        self._signs = Held({n: signs(w) for n, w in self.masks.weights.items()})
        self._parts["signs"] = self._signs
        self.density = density
        if strength is None:
            strength = usual_strength(settings["optimizer"], settings["until"])
        self.strength = strength

    def _leans_to(self, name: str) -> float:
        """The density of a weight that learns nothing."""
        p = self.budget.sparsity
        if self.density is not None or p is None:
            return self.density or 0.05
        return self.leaning * (1 - (p[name] if isinstance(p, Mapping) else p))

    def _sign(self, name: str, like: Tensor) -> Tensor:
        return on_device(self._signs.tensors, name, like.device)

    # The optimizer walks on s θ, so that its gradient and its momentum are those of the weight.

    def _hide(self, weight: Tensor) -> Tensor:
        return weight

    def _show(self, name: str, hidden: Tensor) -> Tensor:
        return torch.where(hidden * self._sign(name, hidden) > 0, hidden, 0.0)

    def _rank(self, name: str) -> Tensor:
        hidden = self._theta[name]
        return (hidden * self._sign(name, hidden)).flatten().cpu()


def check_strength(strength: float | None) -> None:
    """Refuse one below zero.

    Raises:
        ConfigError: it is.
    """
    if strength is not None and not 0 <= strength < math.inf:
        raise ConfigError(f"strength is the rate of a pull, at least 0; got {strength!r}")


def usual_strength(optimizer: Optimizer, steps: int) -> float:
    """What pulls a weight by 0.6 in so many steps at the optimizer's rate, at most ½.

    Adam's longest step is η, so that a pull as strong would let nothing be learned.
    """
    rate = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
    return min(0.5, PULL / (rate * steps)) if rate else 0.0


def signs(weight: Tensor) -> Tensor:
    """+1 or -1 for each weight, + where it is zero."""
    return torch.where(weight.detach() < 0, -torch.ones_like(weight), torch.ones_like(weight))
