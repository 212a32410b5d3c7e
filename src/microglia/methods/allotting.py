"""How many units of each group stay, and which: a budget shared out by scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.methods.parts.budget import Budget, check_reachable, meet, units_left
from microglia.methods.parts.part import Part
from microglia.methods.parts.scope import Scope, Scores, partition, rounded, select, top
from microglia.methods.parts.traffic import Traffic
from microglia.methods.parts.trained import Forward, listening, run_over
from microglia.structure import Keep

Propose = Callable[[int], Keep]
"""How many units may stay -> the mask that leaves as many."""


class Allotting(ABC):
    """Shares a budget out between groups of units, and gives each group's part to its best.

    The settings are those of `Pruner`, which derives from it.

    Raises:
        ConfigError: a setting out of range.
    """

    name: ClassVar[str]
    prunes: ClassVar[Literal["channels", "weights"]]
    budget_kind: ClassVar[Literal["exact", "emergent"]] = "exact"
    needs: ClassVar[Literal["training", "initialisation", "trained"]]

    model: nn.Module

    def __init__(
        self,
        *,
        sparsity: float | Mapping[str, float] | None,
        target: Mapping[str, float] | None,
        floor: int,
        round_to: int,
        scope: Scope,
    ) -> None:
        self.budget = Budget(sparsity, target, required=self.budget_kind == "exact")
        _check(floor=floor, round_to=round_to, scope=scope, prunes=self.prunes)
        self.floor, self.round_to, self.scope = floor, round_to, scope
        self.last_scores: dict[str, Tensor] = {}
        self._parts: dict[str, Part] = {}
        self._solved: int | None = None
        self._dense_cost: float | None = None

    # --- what a kind of pruner decides -----------------------------------------------------

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Units of each group."""

    @abstractmethod
    def _cost(self, quantity: str, density: Mapping[str, Tensor]) -> Callable[[Keep], float]:
        """What a mask leaves of a quantity; `density` as in `Traffic`."""

    @abstractmethod
    def _timed(self, propose: Propose, *, fraction: float, least: int, most: int) -> int:
        """How many units may stay for this fraction of the latency."""

    # --- which units stay -------------------------------------------------------------------

    def _chosen(self, scores: Scores) -> Keep:
        """The mask of the units of highest score that the budget allows."""
        self.last_scores = {name: s.detach().clone() for name, s in scores.items()}
        return self._within_budget(partial(self._best, scores))

    def _best(self, scores: Scores, count: int) -> Keep:
        """The mask of the `count` units of highest score, shared out as the scope says."""
        keep: dict[str, Tensor] = {}
        for names, stay in self._shares(count):
            some = {n: scores[n] for n in names}
            keep.update(select(some, stay, {n: self._least(n) for n in names}))
        return self._in_multiples(keep, scores)

    def _within_budget(self, propose: Propose) -> Keep:
        """The mask that `propose(count)` gives for the count that the budget allows."""
        sizes = self.sizes()
        if self.budget.target is None:
            p = self.budget.sparsity
            return propose(units_left(sizes, p) if isinstance(p, (int, float)) else 0)
        ((quantity, fraction),) = self.budget.target.items()
        least, most = sum(map(self._least, sizes)), sum(sizes.values())
        if quantity == "latency":
            if self._solved is None:  # a clock is read once, not at every update
                self._solved = self._timed(propose, fraction=fraction, least=least, most=most)
            return propose(self._solved)
        traffic = self._parts.get("traffic")
        if isinstance(traffic, Traffic) and not traffic.seen():
            first = "pass calibrate(batches) some data, or " if self.needs == "trained" else ""
            raise ConfigError(
                f"'{self.name}' can't meet a target on SynOps before the network has run: {first}"
                "ask for parameters or macs"
            )
        cost = self._cost(quantity, traffic.density() if isinstance(traffic, Traffic) else {})
        if self._dense_cost is None:  # of the network as it came, however it fires later
            self._dense_cost = cost(_everything(sizes))
        self._solved, keep = meet(
            propose,
            cost,
            whole=self._dense_cost,
            fraction=fraction,
            least=least,
            most=most,
            nearest=self.needs == "initialisation",
            what=quantity,
            units=self.prunes,
        )
        return keep

    def _shares(self, count: int) -> list[tuple[tuple[str, ...], int]]:
        """Sets of groups that are ranked together, and how many units stay in each set."""
        p = self.budget.sparsity
        sizes = self.sizes()
        return partition(
            sizes,
            count,
            scope=p if isinstance(p, Mapping) else self.scope,
            floors={name: self._least(name) for name in sizes},
            units=self.prunes,
        )

    def _least(self, group: str) -> int:
        return min(self.sizes()[group], max(self.floor, self.round_to))

    def _in_multiples(self, keep: Mapping[str, Tensor], order: Scores) -> dict[str, Tensor]:
        """The same mask with counts rounded, units added or dropped by `order`."""
        if self.round_to == 1:
            return dict(keep)
        sizes = self.sizes()
        counts = rounded({n: int(m.sum()) for n, m in keep.items()}, sizes, multiple=self.round_to)
        ranked = {n: order[n] + keep[n] * (order[n].abs().max() * 2 + 1) for n in keep}
        return {n: top(ranked[n], counts[n]) for n in keep}

    # --- what the budget asks for -----------------------------------------------------------

    def _traffic(self) -> list[Traffic]:
        """The counts that a target on SynOps asks for, if it is the target."""
        return [part for part in self._parts.values() if isinstance(part, Traffic)]

    def _count_traffic(self, batches: Iterable[Any], forward: Forward) -> None:
        """Run the network on the batches if a target on SynOps asks for it."""
        if traffic := self._traffic():
            with listening(*traffic):
                run_over(self.model, batches, forward)

    def _check_floors(self) -> None:
        """Refuse at once what no training could reach."""
        if isinstance(self.budget.sparsity, (int, float)):
            self._shares(units_left(self.sizes(), self.budget.sparsity))
        elif self.budget.target is not None:
            ((quantity, fraction),) = self.budget.target.items()
            if quantity in ("parameters", "macs"):  # the others can't be known yet
                self._check_target(quantity, fraction)

    def _check_target(self, quantity: str, fraction: float) -> None:
        cost, sizes = self._cost(quantity, {}), self.sizes()
        check_reachable(
            cost({name: torch.arange(n) < self._least(name) for name, n in sizes.items()}),
            whole=cost(_everything(sizes)),
            fraction=fraction,
            least=sum(map(self._least, sizes)),
            what=quantity,
            units=self.prunes,
        )


def _everything(sizes: Mapping[str, int]) -> dict[str, Tensor]:
    return {name: torch.ones(n, dtype=torch.bool) for name, n in sizes.items()}


def _check(*, floor: int, round_to: int, scope: str, prunes: str) -> None:
    for name, value in (("floor", floor), ("round_to", round_to)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is a number of {prunes}, at least 1; got {value!r}")
    if scope not in ("global", "layer"):
        raise ConfigError(f"scope can't be {scope!r}.{nearest(str(scope), ['global', 'layer'])}")
