"""Lottery tickets: train, prune, go back, and train again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.methods.change import Change
from microglia.methods.parts.budget import Budget
from microglia.methods.parts.rewind import Point
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scores import lamp
from microglia.methods.weights import WeightPruner

ALLOCATIONS = ["magnitude", "lamp"]


class LotteryTicket(WeightPruner):
    """Iterative magnitude pruning with late rewinding.

        round r = 1 ... R, each of `every` optimizer steps; at the end of all but the last:

        1. prune    keep the largest |w| of those that are open, so that the density is
                    δ_r = δ^(r / (R − 1)): the same fraction goes in each round, and δ is the budget
        2. rewind   w <- m ⊙ w*,    w* the network after the first `rewind` steps

    Rewound is all that training changes: weights, biases, norms with their running statistics,
    what neurons learn. The optimizer forgets everything, and `Change.restart` asks the loop to
    start its schedule again; `train` does, by the pruner's `cycle`. So a run takes R · every steps,
    and only the last round trains the network at its budget.

    Args:
        every: optimizer steps of a round.
        rounds: R, at least 2.
        rewind: steps of the first round after which w* is taken, below `every`; 0 for the network
            as it was drawn, None for a fifteenth of a round (the paper: epoch 20 of 300).
        allocate: what is ranked over all layers: "magnitude", or "lamp" for LAMP's score.
        warmup, until: best left out. The first pruning, at step `every`, must not come before
            `warmup`, and the last, at (R − 1) · every, not after `until`.
        scope: "layer" takes the same fraction of each layer.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range.

    Source: Kim et al., "Exploring lottery ticket hypothesis in spiking neural networks", ECCV 2022,
    which prunes 25 % in each of 15 rounds, the later ones from epoch 20 on; here all rounds are of
    one length, and the fraction follows from the budget and the rounds. Early-bird and early-time
    tickets are left out. "lamp": Gou et al., Frontiers in Neuroscience 2025.
    """

    name = "lottery-ticket"
    needs = "training"
    source = "Kim et al., ECCV 2022"

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        rounds: int = 4,
        rewind: int | None = None,
        allocate: Literal["magnitude", "lamp"] = "magnitude",
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        self.schedule = Interval(every, warmup or 0, until)
        self.rewind = every // 15 if rewind is None else rewind
        self.rounds, self.allocate = rounds, allocate
        self._check_rounds()
        super().__init__(model, **settings)
        self.cycle = every
        self.ticket = self.budget
        """The budget of the last round; `budget` is that of the round that is over."""
        self._parts["point"] = self._point = Point()
        if self.rewind == 0:
            self._point.take(model, self.sizes())

    def _check_rounds(self) -> None:
        every, warmup, until = self.schedule.every, self.schedule.warmup, self.schedule.until
        if type(self.rounds) is not int or self.rounds < 2:
            raise ConfigError(f"rounds: wanted at least 2, one before pruning; got {self.rounds!r}")
        if type(self.rewind) is not int or not 0 <= self.rewind < every:
            raise ConfigError(
                f"rewind is a step of the first round, from 0 to every - 1 = {every - 1}; "
                f"got {self.rewind!r}"
            )
        if self.allocate not in ALLOCATIONS:
            hint = nearest(str(self.allocate), ALLOCATIONS)
            raise ConfigError(f"allocate can't be {self.allocate!r}.{hint}")
        last = (self.rounds - 1) * every
        if warmup > every or (until is not None and until < last):
            raise ConfigError(
                f"{self.rounds} rounds of every={every} steps prune first at step {every} and last "
                f"at step {last}, but warmup={warmup} and until={until}; leave both out"
            )

    def _due(self) -> bool:
        whole, over = divmod(self.steps, self.schedule.every)
        return not over and whole < self.rounds

    def _update(self) -> Change:
        done = self.steps // self.schedule.every
        self.budget = _part_of(self.ticket, done / (self.rounds - 1))
        change = self._prune({name: self._score(name) for name in self.sizes()})
        self._point.return_to(self.model, self.optimizer)
        self.masks.apply()
        if done == self.rounds - 1:
            self._point.clear()
        return replace(change, restart=True)

    def _score(self, name: str) -> Tensor:
        weight, mask = self.masks.weights[name].detach(), self.masks.mask(name).flatten().cpu()
        scores = lamp(weight) if self.allocate == "lamp" else weight.abs().flatten().cpu()
        return scores.masked_fill(~mask, -1.0)  # below an open weight of zero

    def _after(self) -> None:
        super()._after()
        if self.steps == self.rewind and not self.changes:
            self._point.take(self.model, self.sizes())


def _part_of(budget: Budget, x: float) -> Budget:
    """What stays to the power of x."""
    if budget.target is not None:
        return Budget(target={quantity: kept**x for quantity, kept in budget.target.items()})
    p = budget.sparsity
    if isinstance(p, Mapping):
        return Budget({name: 1 - (1 - value) ** x for name, value in p.items()})
    return budget if p is None else Budget(1 - (1 - p) ** x)
