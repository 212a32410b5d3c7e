"""A neuron layer scanned over time, forward and backward, in few passes over memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Charge(Protocol):
    """H = charge(X, V), with dH/dV and dH/dX the same everywhere."""

    def __call__(self, x: Tensor, v: Tensor | float, h: Tensor) -> None:
        """Write H to `h`, which may be `x` itself."""


@dataclass(frozen=True)
class Firing:
    """How a layer fires, resets and lets gradients through."""

    threshold: float
    rest: float | None
    """The potential after a spike; None subtracts the threshold (soft reset)."""
    detached: bool
    """Whether the reset is left out of the gradient."""
    surrogate: Any
    """SpikingJelly's surrogate of the step, with its slope."""


def charge_and_reset(
    x: Tensor, v: Tensor | float, h: Tensor, *, charge: Charge, firing: Firing
) -> Tensor:
    """H of every timestep into `h`, `[T, ...]`, from V before the first; returns V after the last.

        H_t = charge(X_t, V_{t-1}),   S_t = 1[H_t ≥ θ],   V_t = reset(H_t, S_t)

    `h` may be `x` itself.
    """
    after = torch.empty_like(h[0])
    for x_t, h_t in zip(x.unbind(0), h.unbind(0), strict=True):
        charge(x_t, v, h_t)
        _reset(h_t, after, firing)
        v = after
    return after


def empty_steps(x: Tensor) -> Tensor:
    """Room for all timesteps of `x`, laid out as each of them is (`x` may repeat one)."""
    step = torch.empty_like(x[0])
    return x.new_empty_strided(x.shape, (step.numel(), *step.stride()))


class Scan(torch.autograd.Function):
    """Spikes `[T, ...]` and V after the last timestep, with the gradient through time.

    With G_t = dL/dH_t, σ' the surrogate's slope and dV_t/dH_t = 1[H_t < θ] (1 for a soft reset),

        G_t = dL/dS_t · σ'(H_t − θ) + dL/dV_t · dV_t/dH_t,
        dL/dV_{t-1} = G_t · dH/dV,   dL/dX_t = G_t · dH/dX.

    A reset that isn't detached adds dL/dV_t · (V_reset − H_t) to dL/dS_t, or −θ · dL/dV_t.
    Between the passes H alone is kept: everything else follows from it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        v: Tensor | float,
        rate: Tensor | None,
        charge: Charge,
        firing: Firing,
        gains: tuple[float, float],
    ) -> tuple[Tensor, Tensor]:
        """`gains` are dH/dV and dH/dX; `rate` a learned 1/τ of H = V + (X − (V − V_reset)) / τ."""
        h = empty_steps(x)
        after = charge_and_reset(x, v, h, charge=charge, firing=firing)
        ctx.set_materialize_grads(False)
        ctx.firing, ctx.gains = firing, gains
        start = v if isinstance(v, Tensor) else torch.tensor(v, dtype=h.dtype)
        ctx.save_for_backward(h, rate, start if rate is not None else None)
        return torch.ge(h, firing.threshold, out=torch.empty_like(h)), after

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, to_spikes: Tensor | None, to_after: Tensor | None) -> Any:
        h, rate, start = ctx.saved_tensors
        firing: Firing = ctx.firing
        kept, gain = ctx.gains
        if to_spikes is None:
            to_spikes = torch.zeros_like(h)
        if firing.detached:
            total, unit = _through_step(firing, to_spikes, h)
        else:
            total, unit = torch.empty_like(h), 1.0
        room = torch.empty_like(h[0])
        later, scale = to_after, 1.0 / unit  # dL/dV_t = later * scale * unit
        to_rate = torch.zeros((), dtype=torch.float64) if ctx.needs_input_grad[2] else None
        for t in range(len(h) - 1, -1, -1):
            if not firing.detached:
                total[t] = _through_step_and_reset(firing, to_spikes[t], later, scale, h[t])
            if later is not None:
                past = later if firing.rest is None else _where_silent(firing, later, h[t], room)
                total[t].add_(past, alpha=scale)
            if to_rate is not None:
                before = start if t == 0 else _after(firing, h[t - 1], room)
                to_rate += (total[t] * (h[t] - before)).sum(dtype=torch.float64).cpu()
            later, scale = total[t], kept
        to_start = total[0] * (kept * unit) if ctx.needs_input_grad[1] else None
        if to_rate is not None:
            # dH/drate = X − (V − V_reset) = (H − V) / rate
            to_rate = (to_rate * unit / rate.double()).to(rate)
        if gain * unit != 1:
            total.mul_(gain * unit)
        return total, to_start, to_rate, None, None, None


def _reset(h: Tensor, v: Tensor, firing: Firing) -> None:
    """Write V to `v`: H − θ S, or V_reset where a spike was fired and H elsewhere."""
    if firing.rest is None:
        torch.ge(h, firing.threshold, out=v)
        torch.sub(h, v, alpha=firing.threshold, out=v)
        return
    _where_silent(firing, h, h, v)
    if firing.rest:
        v.add_((h >= firing.threshold).to(h.dtype), alpha=firing.rest)


def _after(firing: Firing, h: Tensor, room: Tensor) -> Tensor:
    _reset(h, room, firing)
    return room


def _where_silent(firing: Firing, x: Tensor, h: Tensor, room: Tensor) -> Tensor:
    """`x` where H is below θ and 0 elsewhere, written to `room`."""
    # ATen's one vectorised pass that computes this.
    torch.ops.aten.hardtanh_backward.grad_input(x, h, -torch.inf, firing.threshold, grad_input=room)
    return room


def _through_step(firing: Firing, grad: Tensor, h: Tensor) -> tuple[Tensor, float]:
    """grad · σ'(H − θ), as a tensor and the factor that it is still to be multiplied by."""
    surrogate = firing.surrogate
    if type(surrogate).__name__ == "Sigmoid":
        slope = float(surrogate.alpha)
        shift = torch.tensor(-slope * firing.threshold, dtype=torch.float64, device=h.device)
        s = torch.add(shift, h, alpha=slope).sigmoid_()
        return torch.ops.aten.sigmoid_backward(grad, s), slope
    return surrogate.backward(grad, h - firing.threshold, **surrogate._sg_params), 1.0


def _through_step_and_reset(
    firing: Firing, grad: Tensor, later: Tensor | None, scale: float, h: Tensor
) -> Tensor:
    """(dL/dS + dL/dV · dV/dS) · σ'(H − θ) of one timestep."""
    if later is not None:
        jump = -firing.threshold if firing.rest is None else firing.rest - h
        grad = grad + scale * later * jump
    slope, unit = _through_step(firing, grad, h)
    return slope * unit
