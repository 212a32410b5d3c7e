"""STDS: a threshold that rises under all weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.methods.hidden import HiddenPruner

THRESHOLDS = ["sine", "linear", "lats"]


class STDS(HiddenPruner):
    """State transition of dendritic spines: soft-thresholded weights, straight-through.

        w = sign(θ) · max(|θ| − d, 0)          dL/dθ := dL/dw, everywhere

        sine     d(x) = D · (1 + sin(π (x − ½))) / 2        x = n / N, of the run's N steps
        linear   d(x) = D · x
        lats     d(x) = D · (x + sin(π x) / π)               even in its steps under a cosine rate

    Weights may come back, and with the other sign. The sparsity follows from D.

    Args:
        total_steps: N, of the rise; None for `until`.
        strength: D, in the unit of the weights.
        threshold: "sine", "linear" or "lats".
        The others: see `HiddenPruner`.

    Source: Chen et al., "State transition of dendritic spines improves learning of sparse spiking
    neural networks", ICML 2022; lats: Chen et al., "A unified framework for soft threshold
    pruning", ICLR 2023.
    """

    name = "stds"
    source = "Chen et al., ICML 2022"
    search = {"strength": (0.003, 1.0), "threshold": ("sine", "linear", "lats")}

    def __init__(
        self,
        model: nn.Module,
        *,
        total_steps: int | None = None,
        strength: float = 0.05,
        threshold: Literal["sine", "linear", "lats"] = "sine",
        **settings: Any,
    ) -> None:
        if threshold not in THRESHOLDS:
            hint = nearest(str(threshold), THRESHOLDS)
            raise ConfigError(f"threshold can't be {threshold!r}.{hint}")
        if not 0 <= strength < math.inf:
            raise ConfigError(f"strength is the last threshold, at least 0; got {strength!r}")
        length = total_steps if total_steps is not None else settings.get("until")
        if length is None or length < 1:
            raise ConfigError("'stds' raises its threshold over total_steps=; give that or until=")
        self.total_steps, self.strength, self.threshold = length, strength, threshold
        super().__init__(model, **settings)

    @property
    def d(self) -> float:
        """The threshold after the steps taken."""
        x = (self.steps - self.schedule.warmup) / max(1, self.total_steps - self.schedule.warmup)
        x = min(1.0, max(0.0, x))
        if self.threshold == "sine":
            return self.strength * 0.5 * (1 + math.sin(math.pi * (x - 0.5)))
        if self.threshold == "linear":
            return self.strength * x
        return self.strength * (x + math.sin(math.pi * x) / math.pi)

    def _hide(self, weight: Tensor) -> Tensor:
        return weight

    def _show(self, name: str, hidden: Tensor) -> Tensor:
        return torch.nn.functional.softshrink(hidden, self.d)

    def _slope(self, name: str, hidden: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def _push(self, name: str, hidden: Tensor, rate: float) -> Tensor:
        return hidden
