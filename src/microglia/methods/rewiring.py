"""What methods share that have few weights from the start and move them about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.parts.gradient import DenseGradient
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scope import Scores, top
from microglia.methods.weights import WeightPruner
from microglia.structure import Keep

Growth = Literal["random", "gradient", "momentum"]
GROWTH = ["random", "gradient", "momentum"]
DECAY = 0.9  # of the momentum, as optimizers have it


class RewiringPruner(WeightPruner):
    """Few weights from the start; at every update the smallest close and others open.

        close   the weights of smallest |w| in each layer
        open    of those that were closed before, the ones of largest signal

    A weight that opens starts at 0 and without momentum; one that closes stays closed until the
    next update at least. The signal is a random number, |dL/dw| of the last step, or |m| with m
    the running mean of dL/dw (see `DenseGradient`).

    With a target on SynOps, which can't be known before the network has run, the network is dense
    until the first update.

    Args:
        every: optimizer steps between updates.
        warmup: steps before which no weight moves; None for the first `every`.
        until: the last step at which masks change; None for no end, which leaves the last weights
            that opened untrained.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or no gradient where weights open by it.
    """

    needs: ClassVar[Literal["training", "initialisation", "trained"]] = "training"
    grow_by: Growth

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        self.schedule = Interval(every, warmup or 0, until)
        super().__init__(model, **settings)
        self._gradient = DenseGradient(decay=DECAY if self.grow_by == "momentum" else 0.0)
        if self.grow_by != "random":
            self._parts["gradient"] = self._gradient
        if "synops" not in (self.budget.target or {}):
            with self._detached_if_refused():
                self._update()

    def _due(self) -> bool:
        return self._acts(self.steps)

    def _acts(self, step: int) -> bool:
        """Whether masks change after this step."""
        return self.schedule.due(step)

    def _before(self) -> None:
        last = self.grow_by == "gradient"  # only the gradient of a step that an update follows
        if "gradient" in self._parts and (self._acts(self.steps + 1) or not last):
            self._gradient.take(self.masks.weights)
        super()._before()

    def _signal(self) -> Scores:
        """What closed weights are opened by."""
        if self.grow_by == "random":
            return self._random()
        moment = self._gradient.moment
        if not moment:
            raise ConfigError(
                f"'{self.name}' opens weights by their gradients, and there were none: call step() "
                "before zero_grad(), or give the pruner the optimizer"
            )
        return {
            name: moment[name].abs().flatten().cpu() if name in moment else torch.zeros(size)
            for name, size in self.sizes().items()
        }

    def _rewired(self, counts: Mapping[str, int], rate: float) -> Keep:
        """The masks after this fraction of each layer's weights has closed and so many are open."""
        magnitudes, signal, keep = self._magnitudes(), self._signal(), {}
        self.last_scores = magnitudes
        for name, mask in self.masks.keep().items():
            count, now = counts[name], int(mask.sum())
            moved = min(round(rate * now), mask.numel() - count)  # so many places are free
            stay = min(now - moved, count)
            keep[name] = rewired(mask, magnitudes[name], signal[name], stay=stay, count=count)
        return keep


def rewired(mask: Tensor, magnitude: Tensor, signal: Tensor, *, stay: int, count: int) -> Tensor:
    """The mask [numel] with `count` open: the `stay` largest open ones, and of the closed ones
    those of largest signal."""
    staying = top(magnitude.masked_fill(~mask, -torch.inf), stay)
    return staying | top(signal.masked_fill(mask, -torch.inf), count - stay)
