"""What methods share that learn a gate beside each weight."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from microglia.errors import ConfigError
from microglia.methods.hidden import HiddenPruner
from microglia.methods.parts.held import Held
from microglia.methods.parts.scope import top
from microglia.methods.parts.scores import on_device
from microglia.structure import Keep
from microglia.surgery import Compact


class GatedPruner(HiddenPruner):
    """The network runs on w z(φ), the optimizer walks on w and on φ.

        dL/dw = z dL/dw̃        dL/dφ = w dz/dφ dL/dw̃ + λ dR/dφ        w̃ = w z

    φ is a parameter for each weight, in a group of its own of the user's optimizer, without weight
    decay. Its gradient is made just before each step, and the penalty R enters there and not the
    loss. A learning-rate schedule must be made after the pruner, so that it knows the group;
    `detach()` leaves the group empty.

    Until the masks stand still the network holds the gates of the last step, soft or random as the
    method has them, also in evaluation. At `until`, and when it is finalized, w z of the gates'
    last form becomes the weight, and φ is given up. Weights of largest |w z| stay, then of φ.
    `compact()` and `detach()` before that leave w z of the last form too.

    Args:
        strength: λ, of the penalty.
        rate: learning rate of φ; None for what lets Adam move φ by `travel` in `until` steps, or
            for the weights' own without `until`.
        The others: see `HiddenPruner`.

    Raises:
        ConfigError: a setting out of range, no optimizer, or one that has a schedule already.
    """

    _start: float = 0.0
    """φ at the beginning."""
    travel: ClassVar[float]

    def __init__(
        self, model: nn.Module, *, strength: float, rate: float | None = None, **settings: Any
    ) -> None:
        self._check_settings(settings)
        for name, value in (("strength", strength), ("rate", rate or 0.0)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name}: wanted a number, at least 0; got {value!r}")
        optimizer = settings.get("optimizer")
        if isinstance(optimizer, Optimizer) and "initial_lr" in optimizer.param_groups[0]:
            raise ConfigError(
                f"'{self.name}' adds its gates to the optimizer, and the optimizer's learning-rate "
                "schedule would not know them: make the schedule after the pruner"
            )
        super().__init__(model, **settings)
        self.strength = strength
        weights = self.masks.weights.items()
        self._gates = {n: nn.Parameter(torch.full_like(w, self._start)) for n, w in weights}
        self._z = Held({n: torch.ones_like(w.detach()) for n, w in weights})
        self._parts |= {"gates": Held(self._gates), "z": self._z}
        self._join(settings["optimizer"], rate)

    def _join(self, optimizer: Optimizer, rate: float | None) -> None:
        if rate is None:
            until = self.schedule.until
            rate = self.travel / until if until else max(self._rates().values())
        group: dict[str, Any] = {"params": list(self._gates.values()), "lr": rate}
        if "weight_decay" in optimizer.defaults:
            group["weight_decay"] = 0.0
        optimizer.add_param_group(group)
        self._gated, self._group = optimizer, optimizer.param_groups[-1]

    @torch.no_grad()
    def compact(
        self, *, scheduler: LRScheduler | None = None, average: AveragedModel | None = None
    ) -> Compact:
        if not self._soft:
            return super().compact(scheduler=scheduler, average=average)
        masks = self.masks.keep()
        weights = {name: w.detach().clone() for name, w in self.masks.weights.items()}
        try:
            self.masks.set(self._masks_reached())
            return super().compact(scheduler=scheduler, average=average)
        finally:
            self.masks.set(masks)
            for name, weight in self.masks.weights.items():
                weight.copy_(weights[name])

    def detach(self) -> None:
        if self._soft:
            self.masks.set(self._masks_reached())
        super().detach()
        for gate in self._group["params"]:
            self._gated.state.pop(gate, None)
        self._group["params"] = []

    @property
    def _soft(self) -> bool:
        """Whether the weights have gates of the last step in them, soft or random."""
        return self.masks.attached and bool(self.steps) and not self._holding

    # --- what a method decides -------------------------------------------------------------

    @abstractmethod
    def _gate(self, gate: Tensor) -> Tensor:
        """z(φ) for the next step."""

    @abstractmethod
    def _gate_slope(self, gate: Tensor, z: Tensor) -> Tensor:
        """dz/dφ where the gates were z."""

    @abstractmethod
    def _pressure(self, name: str, gate: Tensor) -> Tensor:
        """dR/dφ."""

    @abstractmethod
    def _last(self, gate: Tensor) -> Tensor:
        """z(φ) in its last form, zero where the weight goes."""

    def _hide(self, weight: Tensor) -> Tensor:
        return weight

    def _show(self, name: str, hidden: Tensor) -> Tensor:
        self._z[name] = self._gate(self._gates[name].detach())
        return hidden * self._z[name]

    def _slope(self, name: str, hidden: Tensor, gradient: Tensor) -> Tensor:
        return gradient * on_device(self._z.tensors, name, gradient.device)

    def _push(self, name: str, hidden: Tensor, rate: float) -> Tensor:
        return hidden

    @torch.no_grad()
    def _before(self) -> None:
        for name, weight in self.masks.weights.items() if not self._holding else ():
            gate, z = self._gates[name], on_device(self._z.tensors, name, weight.device)
            gate.data = gate.data.to(weight.device)  # the network may have been moved since
            if weight.grad is not None:
                hidden = on_device(self._theta.tensors, name, weight.device)
                gate.grad = weight.grad * hidden * self._gate_slope(gate, z)
                if self.steps >= self.schedule.warmup:
                    gate.grad += self.strength * self._pressure(name, gate)
        super()._before()

    def _after(self) -> None:
        super()._after()
        for gate in self._gates.values():
            gate.grad = None

    @torch.no_grad()
    def _masks_reached(self) -> Keep:
        if self._holding:
            return super()._masks_reached()
        keep: dict[str, Tensor] = {}
        for name, weight in self.masks.weights.items():
            z, hidden = self._last(self._gates[name]), self._theta[name]
            # A weight behind a closed gate comes back whole if the budget leaves room for it.
            weight.copy_(torch.where(z > 0, hidden * z, hidden))
            keep[name] = (z > 0).flatten().cpu() | top(self._rank(name), self._least(name))
        return keep

    def _rank(self, name: str) -> Tensor:
        gate = self._gates[name].detach()
        z, hidden = self._last(gate), self._theta[name].to(gate.device)
        return torch.where(z > 0, (hidden * z).abs(), gate).flatten().cpu()  # closed: φ < 0
