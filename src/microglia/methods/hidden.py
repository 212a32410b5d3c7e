"""What methods share whose optimizer walks on hidden values behind the weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts.held import Held
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scope import Scores
from microglia.methods.parts.scores import on_device
from microglia.methods.weights import WeightPruner


class HiddenPruner(WeightPruner):
    """The network runs on w = f(θ), the optimizer walks on θ.

    θ takes the weight's place for the length of each optimizer step: before it dL/dw becomes the
    gradient of θ, after it w is computed again. So the network stays an ordinary one, with
    ordinary weights, and any optimizer will do; its momentum and weight decay are θ's. A weight is
    open where it isn't zero, but for the largest few of a layer that would have none.

    At step `until` the masks are projected to the budget, if there is one, and then stand still; θ
    is given up for the weights themselves.

    Args:
        optimizer: of the network; needed here.
        every: optimizer steps between two reports of what changed.
        warmup: steps before which nothing is pushed towards zero.
        until: the last step at which masks change, the step of the projection; None for none.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or no optimizer.
    """

    needs = "training"
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "emergent"

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Optimizer,
        every: int,
        warmup: int = 0,
        until: int | None = None,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if optimizer is None:
            raise ConfigError(f"'{self.name}' acts in the optimizer's steps: give optimizer=")
        self.schedule = Interval(every, warmup or 0, until)
        super().__init__(model, optimizer=optimizer, **settings)
        weights = self.masks.weights.items()
        self._theta = Held({name: self._hide(w.detach().clone()) for name, w in weights})
        self._reported = Held(self.masks.keep())
        self._parts |= {"theta": self._theta, "reported": self._reported}

    # --- what a method decides -------------------------------------------------------------

    @abstractmethod
    def _hide(self, weight: Tensor) -> Tensor:
        """θ of the weight as it was drawn."""

    @abstractmethod
    def _show(self, name: str, hidden: Tensor) -> Tensor:
        """w = f(θ), after `self.steps` steps."""

    @abstractmethod
    def _slope(self, name: str, hidden: Tensor, gradient: Tensor) -> Tensor:
        """The gradient that θ gets, of dL/dw."""

    @abstractmethod
    def _push(self, name: str, hidden: Tensor, rate: float) -> Tensor:
        """θ after what the method does to it beside the optimizer, at this learning rate."""

    # --- what they share -------------------------------------------------------------------

    @torch.no_grad()
    def _before(self) -> None:
        if self._holding:
            super()._before()
            return
        for name, weight in self.masks.weights.items():
            hidden = on_device(self._theta.tensors, name, weight.device)
            if weight.grad is not None:
                weight.grad.copy_(self._slope(name, hidden, weight.grad))
            weight.copy_(hidden)

    @torch.no_grad()
    def _after(self) -> None:
        if self._holding:
            super()._after()
            return
        rates = self._rates()
        for name, weight in self.masks.weights.items():
            hidden = self._push(name, weight.detach().clone(), rates.get(id(weight), 0.0))
            self._theta[name] = hidden
            weight.copy_(self._show(name, hidden))
            mask = weight != 0
            if int(mask.sum()) < self._least(name):
                largest = self._rank(name).to(mask.device).topk(self._least(name)).indices
                flat = mask.flatten()  # a view wouldn't do where channels lie last in memory
                flat[largest] = True
                mask = flat.reshape(mask.shape)
            self.masks.mask(name).copy_(mask)

    def _due(self) -> bool:
        return self.schedule.due_or_last(self.steps)

    def _update(self) -> Change:
        before = self._reported.tensors
        if self.steps != self.schedule.until:
            self.changes += 1
        elif self.budget.given:
            self.finalize()
        else:
            self.changes += 1
            self.masks.set(self._masks_reached())
            self._stand_still()
        after = self._reported.tensors = self.masks.keep()
        return Change.between(before, after, step=self.steps, units=self.prunes)

    def _importance(self) -> Scores:
        if self._holding:  # projected again, to less: θ is long past
            return self._magnitudes()
        return {name: self._rank(name) for name in self._theta.tensors}

    def _rank(self, name: str) -> Tensor:
        """By how much each weight is there, or how near it is to coming back, [numel]."""
        return self._theta[name].abs().flatten().cpu()
