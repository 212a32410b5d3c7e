"""SpikingJelly's IF, LIF and PLIF neurons, scanned over time with fewer passes over memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

# ATen runs an operation on fewer elements than this on the calling thread alone.
SERIAL = 2**15
# Below this many neurons waiting for the other threads costs more than their help is worth.
PARALLEL_FROM = 2**18

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

    def charge(self, x: Tensor, v: Tensor, h: Tensor) -> None:
        """Write H to `h`, which may be `x`; `v` may be overwritten."""
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
        learns = torch.is_grad_enabled() and x.requires_grad
        plain = not self.store_v_seq and self._neuron_precision is None
        return x.device.type == "cpu" and plain and not learns

    @torch.no_grad()
    def _scan(self, x: Tensor) -> Tensor:
        (v,) = self.materialize_states((x,), (self.v,), "m")
        if v is self.v:
            v = v.clone()  # whoever kept the state of an earlier call finds it unchanged
        spikes = x if self._may_overwrite(x) else _like(x, v)
        for part in _parts(v):
            x_part, spikes_part = x[part], spikes[part]
            v_part = v[part[1:]]
            for x_t, h in zip(x_part.unbind(0), spikes_part.unbind(0), strict=True):
                self.charge(x_t, v_part, h)
                _reset(h, v_part, self.v_threshold, self.v_reset)
                h.ge_(self.v_threshold)
        self.v = v
        return spikes

    def _may_overwrite(self, x: Tensor) -> bool:
        watched = self._forward_hooks  # they are given the current beside the spikes
        repeated = any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape, strict=True))
        foreign = x.is_inference() and not torch.is_inference_mode_enabled()
        return self.overwrites_current and not (watched or repeated or foreign)


class ScannedIF(_Scan, neuron.IFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + X."""

    def charge(self, x: Tensor, v: Tensor, h: Tensor) -> None:
        torch.add(v, x, out=h)


class ScannedLIF(_Scan, neuron.LIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """H = V + (X − (V − V_reset)) / τ, or V − (V − V_reset) / τ + X without `decay_input`."""

    def charge(self, x: Tensor, v: Tensor, h: Tensor) -> None:
        leak = v - self.v_reset if self.v_reset else v
        if self.decay_input:
            torch.sub(x, leak, out=h).div_(self.tau).add_(v)
        else:
            torch.add(v.sub_(leak / self.tau), x, out=h)


class ScannedPLIF(_Scan, neuron.ParametricLIFNode):  # type: ignore[misc]  # SpikingJelly is untyped
    """LIF with 1/τ = sigmoid(w)."""

    def charge(self, x: Tensor, v: Tensor, h: Tensor) -> None:
        leak = v - self.v_reset if self.v_reset else v
        rate = self.w.sigmoid()
        if self.decay_input:
            torch.sub(x, leak, out=h).mul_(rate).add_(v)
        else:
            torch.add(v.sub_(leak * rate), x, out=h)


_SCANNED: dict[type[nn.Module], Any] = {
    neuron.IFNode: ScannedIF,
    neuron.LIFNode: ScannedLIF,
    neuron.ParametricLIFNode: ScannedPLIF,
}


def accelerate_neuron(module: Any, *, overwrites_current: bool) -> bool:
    """Turn the module into its scanned form, in place; False where it has none.

    It stays an instance of its class, with its parameters, states and hooks. Subclasses are left
    alone, for they may compute something else, and so are surrogates that aren't a step.
    """
    scanned = _SCANNED.get(type(module))
    if scanned is None or not _fires_by_step(module.surrogate_function):
        return False
    module.__class__ = scanned
    module.overwrites_current = overwrites_current
    return True


def _fires_by_step(surrogate: Any) -> bool:
    own = type(surrogate).__module__.startswith("spikingjelly.")
    return own and type(surrogate).__name__ in _STEPS and bool(surrogate.spiking)


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


def _like(x: Tensor, v: Tensor) -> Tensor:
    """Memory for the spikes of a current that is not to be overwritten, each step laid out as V."""
    return x.new_empty_strided(x.shape, (v.numel(), *v.stride()))


def _parts(v: Tensor) -> Iterator[tuple[slice, ...]]:
    """Parts `[:, first:last]` of the batch: all of it where threads share the work, else pieces
    for one thread."""
    if v.dim() == 0 or not SERIAL <= v.numel() < PARALLEL_FROM:
        yield (slice(None),)
        return
    samples = v.shape[0]
    step = max(1, (SERIAL - 1) * samples // v.numel())
    for first in range(0, samples, step):
        yield (slice(None), slice(first, first + step))
