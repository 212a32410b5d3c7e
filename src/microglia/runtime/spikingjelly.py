"""SpikingJelly's layers in forms that do nothing but infer, in fewer passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

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


class _Scan(neuron.BaseNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """Inference of a neuron layer, operation for operation in SpikingJelly's order:

        H_t = charge(V_{t-1}, X_t),   S_t = 1[H_t ≥ θ],   V_t = reset(H_t, S_t)

    so spikes and states are bit-equal to its own for finite currents. H_t and then S_t are written
    into one place, which is X_t itself where nobody else needs the current any more.
    """

    v: Any
    overwrites_current = False
    """Whether the current, once read, may be overwritten by the spikes."""

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        """Write H to `h`, which may be `x` itself."""
        raise NotImplementedError

    def multi_step_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._can_scan(x):
            return super().multi_step_forward(x, *args, **kwargs)
        return self._scan(x)

    def single_step_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._can_scan(x):
            return super().single_step_forward(x, *args, **kwargs)
        return self._scan(x.unsqueeze(0)).squeeze(0)

    def _can_scan(self, x: Tensor) -> bool:
        """On a GPU SpikingJelly's own kernels are faster; gradients and traces need its code."""
        if x.device.type != "cpu" or self.store_v_seq or self._neuron_precision is not None:
            return False
        learning = x.requires_grad or (isinstance(self.v, Tensor) and self.v.requires_grad)
        return not (learning and torch.is_grad_enabled())

    def _scan(self, x: Tensor) -> Tensor:
        before = self._state(x)
        currents = x.unbind(0)
        v = torch.empty_like(currents[0])
        if self._may_overwrite(x):
            spikes, steps = x, currents
        else:
            spikes = x.new_empty_strided(x.shape, (v.numel(), *v.stride()))
            steps = spikes.unbind(0)
        for x_t, h in zip(currents, steps, strict=True):
            self.charge(x_t, before, h)
            _reset(h, v, self.v_threshold, self.v_reset)
            before = v
        spikes.ge_(self.v_threshold)
        self.v = v
        return spikes

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


class ScannedIF(_Scan, neuron.IFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + X."""

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        torch.add(x, v, out=h)


class ScannedLIF(_Scan, neuron.LIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + (X − (V − V_reset)) / τ, or V − (V − V_reset) / τ + X without `decay_input`."""

    def charge(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        leak = v - self.v_reset if self.v_reset else v
        if self.decay_input:
            torch.sub(x, leak, out=h).div_(self.tau).add_(v)
        else:
            torch.add(x, v - leak / self.tau, out=h)


class ScannedPLIF(_Scan, neuron.ParametricLIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """LIF with 1/τ = sigmoid(w)."""

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


def _reset(h: Tensor, v: Tensor, threshold: float, rest: float | None) -> None:
    """Write V to `v`: H − θ S, or V_reset where a spike was fired and H elsewhere."""
    if rest is None:
        torch.ge(h, threshold, out=v)
        torch.sub(h, v, alpha=threshold, out=v)
        return
    # ATen's one vectorised pass that computes "H where it is below θ, else 0".
    torch.ops.aten.hardtanh_backward.grad_input(h, h, -torch.inf, threshold, grad_input=v)
    if rest:
        v.add_((h >= threshold).to(h.dtype), alpha=rest)
