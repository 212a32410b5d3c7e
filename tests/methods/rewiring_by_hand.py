"""One update of a method that moves weights about, seen from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from test_contract import Loop
from torch import Tensor

from microglia.methods import Change, Pruner, WeightPruner

DECAY = 0.9


@dataclass
class Seen:
    """What there was right before an update and after it, by the weight's name, all flat."""

    change: Change
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    """Of the last step, of closed weights too."""
    momentum: dict[str, Tensor]
    """Their running mean, since the first step."""
    before: dict[str, Tensor]
    after: dict[str, Tensor]


class Watched(Loop):
    """A loop that looks on at every step."""

    def __init__(self, cls: type[Pruner], network: str, **settings: Any) -> None:
        super().__init__(cls, network, **settings)
        assert isinstance(self.pruner, WeightPruner)
        self.masks = self.pruner.masks
        self.momentum = {n: torch.zeros(w.numel()) for n, w in self.masks.weights.items()}

    def next_update(self) -> Seen:
        while True:
            self.backward()
            gradients = {n: w.grad.clone().flatten() for n, w in self.masks.weights.items()}
            for name, m in self.momentum.items():
                self.momentum[name] = DECAY * m + (1 - DECAY) * gradients[name]
            self.optimizer.step()
            weights = {n: w.detach().clone().flatten() for n, w in self.masks.weights.items()}
            before = self.masks.keep()
            change = self.pruner.step()
            if change is not None:
                return Seen(
                    change, weights, gradients, dict(self.momentum), before, self.masks.keep()
                )


def assert_smallest(values: Tensor, chosen: Tensor, *, among: Tensor, count: int) -> None:
    """That a mask holds the `count` smallest values among those of another; ties are free."""
    assert not (chosen & ~among).any()
    assert int(chosen.sum()) == count
    assert torch.equal(values[chosen].sort().values, values[among].sort().values[:count])


def assert_new_weights_start_at_zero(loop: Watched, seen: Seen) -> None:
    for name, weight in loop.masks.weights.items():
        opened = seen.after[name] & ~seen.before[name]
        assert not weight.detach().flatten()[opened].any()
        assert set(opened.nonzero().flatten().tolist()) == set(seen.change.regrown.get(name, ()))


def seats(shares: Mapping[str, float], rooms: Mapping[str, int], count: int) -> dict[str, int]:
    """Webster's apportionment: one seat after the other to whom most is owed."""
    got = dict.fromkeys(shares, 0)
    for _ in range(count):
        free = [name for name in shares if got[name] < rooms[name]]
        got[max(free, key=lambda n: shares[n] / (got[n] + 0.5))] += 1
    return got
