"""Deep R: a constant number of synapses; those that reach zero are drawn anew elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from microglia.errors import ConfigError
from microglia.methods.change import Change
from microglia.methods.parts.draw import drawn
from microglia.methods.parts.held import Held
from microglia.methods.parts.schedule import Interval
from microglia.methods.parts.scores import on_device
from microglia.methods.signed import check_strength, signs, usual_strength
from microglia.methods.soft_deep_r import check_temperature, noise
from microglia.methods.weights import WeightPruner

NEW = 1e-12  # of a synapse that grows: of its sign, and next to nothing


class DeepR(WeightPruner):
    """Deep rewiring: K random synapses of fixed signs s; what would change its sign is replaced.

        active     θ ← θ - η s dL/dw - η α + √(2 η T) ν        ν ~ N(0, 1), w = s θ
        θ < 0      dormant, w = 0, and as many dormant synapses, drawn evenly, grow at θ = 1e-12

    after each optimizer step: K, the budget's, never changes, and the optimizer forgets dormant
    synapses. Under `scope="global"` they grow anywhere, under "layer" and with a target in the
    layer that lost one. A target on SynOps is solved after the first step; until then the network
    is dense.

    Args:
        optimizer: of the network; needed here.
        every: optimizer steps between two reports of what changed.
        warmup: steps before which neither the L1 term nor the noise acts; rewiring does.
        until: the last step of rewiring; signs are free after it.
        strength: α, the L1 term for each unit of the learning rate; None for what pulls a weight by
            0.6 in `until` steps, at most ½, and for LSNN's 0.01 if there is no `until`.
        temperature: T of the random walk.
        The others: see `WeightPruner`.

    Raises:
        ConfigError: a setting out of range, or no optimizer.

    Source: Bellec et al., "Deep rewiring: training very sparse deep networks", ICLR 2018. Signs are
    those of the weights as they were drawn; what `strength` is by default is this package's choice.
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
        strength: float | None = None,
        temperature: float = 0.0,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        if optimizer is None:
            raise ConfigError(f"'{self.name}' acts in the optimizer's steps: give optimizer=")
        check_strength(strength)
        check_temperature(temperature)
        self.schedule = Interval(every, warmup or 0, until)
        super().__init__(model, optimizer=optimizer, **settings)
        if strength is None:
            strength = usual_strength(optimizer, until) if until else 0.01
        self.strength, self.temperature = strength, temperature
        self._parts["reported"] = self._reported = Held(self.masks.keep())
        self._signs = Held({n: signs(w) for n, w in self.masks.weights.items()})
        self._parts["signs"] = self._signs
        if "traffic" not in self._parts:
            with self._detached_if_refused():
                self._prune(self._random())

    @property
    def _together(self) -> list[tuple[str, ...]]:
        """The sets of layers whose synapses may move from one to the other."""
        anywhere = isinstance(self.budget.sparsity, (int, float)) and self.round_to == 1
        if anywhere and self.scope == "global":
            return [tuple(self.sizes())]
        return [(name,) for name in self.sizes()]

    @torch.no_grad()
    def _after(self) -> None:
        if self._holding:
            super()._after()
            return
        if not self.changes:
            self._prune(self._random())
        counts = [(names, self._active(names)) for names in self._together]
        floors = [((name,), self._least(name)) for name in self.sizes()]
        rates = self._rates()
        for name, weight in self.masks.weights.items():
            sign = on_device(self._signs.tensors, name, weight.device)
            rate = rates.get(id(weight), 0.0)
            if self.steps > self.schedule.warmup:
                weight.sub_(sign, alpha=rate * self.strength)
                weight.add_(noise(weight, rate, self.temperature, self.generator))
            self.masks.mask(name).logical_and_(weight * sign > 0)
        for names, count in (*floors, *counts):
            if (missing := count - self._active(names)) > 0:
                self._grow(names, missing)
        self.masks.version += 1
        self.masks.apply()

    def _active(self, names: tuple[str, ...]) -> int:
        return sum(int(self.masks.mask(name).sum()) for name in names)

    def _grow(self, names: tuple[str, ...], missing: int) -> None:
        """Draw so many dormant synapses of these layers."""
        active = torch.cat([self.masks.mask(name).flatten() for name in names])
        dormant = (~active).nonzero().flatten()
        place = drawn(missing, dormant.numel(), self.generator).to(dormant.device)
        chosen = torch.zeros_like(active).index_fill_(0, dormant[place], True)
        for name, grown in zip(names, chosen.split([self.sizes()[n] for n in names]), strict=True):
            grown = grown.view(self.masks.mask(name).shape)
            self.masks.weights[name][grown] = NEW * self._signs[name][grown]
            self.masks.mask(name).logical_or_(grown)

    def _due(self) -> bool:
        return self.schedule.due_or_last(self.steps)

    def _update(self) -> Change:
        self._holding = self.steps == self.schedule.until
        before = self._reported.tensors
        after = self._reported.tensors = self.masks.keep()
        self.changes += 1
        return Change.between(before, after, step=self.steps, units=self.prunes)
