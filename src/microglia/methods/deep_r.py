"""Deep R: a constant number of synapses; those that reach zero are drawn anew elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.errors import ConfigError, MicrogliaError
from microglia.methods.change import Change
from microglia.methods.parts.draw import drawn
from microglia.methods.parts.held import Held
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scores import on_device
from microglia.methods.parts.trained import Forward
from microglia.methods.signed import signs
from microglia.methods.soft_deep_r import check_temperature, noise
from microglia.methods.weights import WeightPruner

NEW = 1e-12  # of a synapse that grows: of its sign, and next to nothing


class DeepR(WeightPruner):
    """Deep rewiring: K random synapses of fixed signs s; one that would change its sign is dropped.

        active     θ ← θ - η s dL/dw - η α + √(2 η T) ν        ν ~ N(0, 1), w = s θ
        θ < 0      dormant, w = 0, and as many dormant synapses, drawn evenly, grow at θ = 1e-12

    after each optimizer step, so that K, the budget's, never changes. The gradient's step is the
    optimizer's, whatever it is, and it forgets what it remembered of dormant synapses.

    Synapses grow anywhere under `scope="global"`, and in the layer that lost one under "layer". A
    target on costs stays met because each layer then keeps its number; one on SynOps can be solved
    only after the first step, until which the network is dense.

    Args:
        optimizer: of the network; needed here.
        every: optimizer steps between two reports of what changed.
        warmup: steps before which neither the L1 term nor the noise acts; rewiring does.
        until: the last step of rewiring; signs are free after it.
        strength: α, the L1 term for each unit of the learning rate.
        temperature: T of the random walk.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or no optimizer.

    Source: Bellec et al., "Deep rewiring: training very sparse deep networks", ICLR 2018; defaults
    of their LSNN, NeurIPS 2018. Signs are those of the weights as they were drawn.
    """

    name = "deep-r"
    needs = "training"
    source = "Bellec et al., ICLR 2018"

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Optimizer,
        every: int,
        warmup: int | None = None,
        until: int | None = None,
        strength: float = 0.01,
        temperature: float = 0.0,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if optimizer is None:
            raise ConfigError(f"'{self.name}' acts in the optimizer's steps: give optimizer=")
        if not 0 <= strength < math.inf:
            raise ConfigError(f"strength is the rate of the L1 term, at least 0; got {strength!r}")
        check_temperature(temperature)
        self.schedule = Interval(every, warmup or 0, until)
        self.strength, self.temperature = strength, temperature
        super().__init__(model, optimizer=optimizer, **settings)
        self._parts["reported"] = self._reported = Held(self.masks.keep())
        self._signs = Held({n: signs(w) for n, w in self.masks.weights.items()})
        self._parts["signs"] = self._signs
        if "traffic" not in self._parts:
            try:
                self._draw()
            except MicrogliaError:
                self.detach()
                raise

    def _draw(self) -> None:
        self._prune({n: torch.rand(k, generator=self.generator) for n, k in self.sizes().items()})

    @property
    def _together(self) -> list[tuple[str, ...]]:
        """The sets of layers whose synapses may move from one to the other."""
        free = self.budget.sparsity is not None and not isinstance(self.budget.sparsity, Mapping)
        if free and self.scope == "global" and self.round_to == 1:
            return [tuple(self.sizes())]
        return [(name,) for name in self.sizes()]

    @torch.no_grad()
    def _after(self) -> None:
        if self._holding:
            super()._after()
            return
        if not self.changes:
            self._draw()
        counts = [(names, self._active(names)) for names in self._together]
        rates = self._rates()
        for name, weight in self.masks.weights.items():
            sign = on_device(self._signs.tensors, name, weight.device)
            if self.steps > self.schedule.warmup:
                rate = rates[id(weight)]
                weight.sub_(sign, alpha=rate * self.strength)
                weight.add_(noise(weight, rate, self.temperature, self.generator))
            self.masks.mask(name).logical_and_(weight * sign > 0)
        for name in self.sizes():
            self._grow((name,), self._least(name))
        for names, count in counts:
            self._grow(names, count)
        self.masks.version += 1
        self.masks.apply()

    def _active(self, names: tuple[str, ...]) -> int:
        return sum(int(self.masks.mask(name).sum()) for name in names)

    def _grow(self, names: tuple[str, ...], count: int) -> None:
        """Draw dormant synapses of these layers until `count` are active."""
        missing = count - self._active(names)
        if missing <= 0:
            return
        dormant = torch.cat([~self.masks.mask(n).flatten() for n in names]).nonzero().flatten()
        place = drawn(missing, dormant.numel(), self.generator).to(dormant.device)
        chosen = torch.zeros(sum(self.sizes()[n] for n in names), dtype=torch.bool)
        chosen = chosen.to(dormant.device).index_fill_(0, dormant[place], True)
        for name, grown in zip(names, chosen.split([self.sizes()[n] for n in names]), strict=True):
            mask, weight = self.masks.mask(name), self.masks.weights[name]
            grown = grown.view(mask.shape)
            weight[grown] = NEW * self._signs.tensors[name][grown]
            mask.logical_or_(grown)

    def _due(self) -> bool:
        return self.steps == self.schedule.until or self.schedule.due(self.steps)

    def _update(self) -> Change:
        self._holding = self.steps == self.schedule.until
        before, after = self._reported.tensors, self.masks.keep()
        self._reported.tensors = after
        self.changes += 1
        return Change.between(before, after, step=self.steps, units=self.prunes)

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> None:
        return None
