"""SpikingJelly's neurons in forms that take fewer passes over memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from microglia.runtime.scan import Firing, Scan, charge_and_reset, empty_steps

# SpikingJelly's surrogates whose forward pass is the Heaviside step, 1[x ≥ 0].
_STEPS = {
    "ATan",
    "Erf",
    "PiecewiseExp",
    "PiecewiseQuadratic",
    "Rect",
    "Sigmoid",
    "SoftSign",
    "SuperSpike",
}


class _Scanned(neuron.BaseNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """A neuron layer on the CPU, operation for operation in SpikingJelly's order:

        H_t = charge(V_{t-1}, X_t),   S_t = 1[H_t ≥ θ],   V_t = reset(H_t, S_t)

    so spikes and states are bit-equal to its own for finite currents; gradients differ by rounding.
    Without gradients H_t and then S_t are written into one place, which is X_t itself where nobody
    else needs the current any more.
    """

    v: Any
    overwrites_current = False
    """Whether the current, once read, may be overwritten by the spikes."""

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        """Write H to `h`, which may be `x` itself."""
        raise NotImplementedError

    def gains(self) -> tuple[float, float]:
        """dH/dV and dH/dX."""
        raise NotImplementedError

    def rate(self) -> Tensor | None:
        """1/τ, where it is learned."""
        return None

    def can_learn(self) -> bool:
        """Whether the charge's gradients are known here."""
        return True

    def multi_step_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._can_scan(x):
            return super().multi_step_forward(x, *args, **kwargs)
        return self._learn(x) if self._is_learning(x) else self._infer(x)

    def single_step_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._can_scan(x):
            return super().single_step_forward(x, *args, **kwargs)
        x = x.unsqueeze(0)
        return (self._learn(x) if self._is_learning(x) else self._infer(x)).squeeze(0)

    def _is_learning(self, x: Tensor) -> bool:
        tensors = [x, self.v, self.rate()]
        wanted = any(isinstance(y, Tensor) and y.requires_grad for y in tensors)
        return wanted and torch.is_grad_enabled()

    def _can_scan(self, x: Tensor) -> bool:
        """On a GPU SpikingJelly's own kernels are faster; a record of V needs its code."""
        if x.device.type != "cpu" or not x.is_floating_point():
            return False
        if self.store_v_seq or self._neuron_precision is not None:
            return False
        return self.can_learn() or not self._is_learning(x)

    def _learn(self, x: Tensor) -> Tensor:
        before, firing = self._state(x), self._firing()
        spikes, after = Scan.apply(x, before, self.rate(), self.charge, firing, self.gains())
        self.v = after
        return spikes  # type: ignore[no-any-return]

    def _infer(self, x: Tensor) -> Tensor:
        before, firing = self._state(x), self._firing()
        spikes = x if self._may_overwrite(x) else empty_steps(x)
        after = charge_and_reset(x, before, spikes, charge=self.charge, firing=firing)
        self.v = after
        return spikes.ge_(self.v_threshold)

    def _firing(self) -> Firing:
        return Firing(self.v_threshold, self.v_reset, self.detach_reset, self.surrogate_function)

    def _state(self, x: Tensor) -> Tensor | float:
        """V before the first step: the resting potential, or as SpikingJelly makes it of `v`."""
        rest = self.v_reset or 0.0
        if isinstance(self.v, float) and self.v == rest:
            return rest
        return self.materialize_states((x,), (self.v,), "m")[0]  # type: ignore[no-any-return]

    def _may_overwrite(self, x: Tensor) -> bool:
        if not self.overwrites_current or self._forward_hooks:  # hooks are given the current too
            return False
        foreign = x.is_inference() and not torch.is_inference_mode_enabled()
        return not (foreign or _overlaps_itself(x))


class ScannedIF(_Scanned, neuron.IFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + X."""

    scans = neuron.IFNode

    def gains(self) -> tuple[float, float]:
        return 1.0, 1.0

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        torch.add(x, v, out=h)


class ScannedLIF(_Scanned, neuron.LIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + (X − (V − V_reset)) / τ, or V − (V − V_reset) / τ + X without `decay_input`."""

    scans = neuron.LIFNode

    def gains(self) -> tuple[float, float]:
        return 1.0 - 1.0 / self.tau, 1.0 / self.tau if self.decay_input else 1.0

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        leak = v - self.v_reset if self.v_reset else v
        if self.decay_input:
            torch.sub(x, leak, out=h).div_(self.tau).add_(v)
        else:
            torch.add(x, v - leak / self.tau, out=h)


class ScannedPLIF(_Scanned, neuron.ParametricLIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """LIF with 1/τ = sigmoid(w)."""

    scans = neuron.ParametricLIFNode

    def gains(self) -> tuple[float, float]:
        rate = float(self.w.detach().sigmoid())
        return 1.0 - rate, rate

    def rate(self) -> Tensor | None:
        return self.w.sigmoid()  # type: ignore[no-any-return]

    def can_learn(self) -> bool:
        return bool(self.decay_input)

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        leak = v - self.v_reset if self.v_reset else v
        rate = self.w.detach().sigmoid()
        if self.decay_input:
            torch.sub(x, leak, out=h).mul_(rate).add_(v)
        else:
            torch.add(x, v - leak * rate, out=h)


_SCANNED: dict[type[nn.Module], Any] = {
    neuron.IFNode: ScannedIF,
    neuron.LIFNode: ScannedLIF,
    neuron.ParametricLIFNode: ScannedPLIF,
}


def accelerate_neuron(module: Any, *, overwrites_current: bool) -> None:
    """Turn a neuron into its scanned form, in place.

    It stays an instance of its class, with its parameters, states and hooks. Subclasses are left
    alone, for they may compute something else, and so are surrogates that aren't a step.
    """
    scanned = _SCANNED.get(type(module))
    if scanned is not None and _fires_by_step(module.surrogate_function):
        module.__class__ = scanned
        module.overwrites_current = overwrites_current


@contextmanager
def scanned_neurons(model: nn.Module) -> Iterator[None]:
    """Let the network's neurons be scanned inside the block; afterwards they are as they were."""
    plain = {module: type(module) for module in model.modules() if type(module) in _SCANNED}
    for module in plain:
        accelerate_neuron(module, overwrites_current=False)
    try:
        yield
    finally:
        for module, cls in plain.items():
            module.__class__ = cls
            vars(module).pop("overwrites_current", None)


def _fires_by_step(surrogate: Any) -> bool:
    own = type(surrogate).__module__.startswith("spikingjelly.")
    return own and type(surrogate).__name__ in _STEPS and bool(surrogate.spiking)


def _overlaps_itself(x: Tensor) -> bool:
    """Whether two elements may share memory, as where a current is repeated over time."""
    reach = 0
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False
