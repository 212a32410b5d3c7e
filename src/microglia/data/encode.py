"""From values to spikes: images [N, C, H, W] in [0, 1] to trains [T, N, C, H, W]."""

from __future__ import annotations

import torch
from torch import Tensor

from microglia.errors import ConfigError

ENCODERS = ("direct", "poisson", "latency", "delta")


def poisson(x: Tensor, T: int, generator: torch.Generator | None = None) -> Tensor:
    """At each timestep a spike with probability x: S_t = 1[u_t < x], u_t uniform in [0, 1)."""
    _check(x)
    u = torch.rand((T, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
    return (u < x).to(x.dtype)


def latency(x: Tensor, T: int) -> Tensor:
    """One spike a value, the earlier the larger it is: at t = round((T − 1) · (1 − x))."""
    _check(x)
    when = ((T - 1) * (1 - x)).round().long()
    steps = torch.arange(T, device=x.device).reshape(T, *[1] * x.dim())
    return (steps == when).to(x.dtype)


def delta(x: Tensor, threshold: float) -> Tensor:
    """Changes of a sequence [T, N, C, ...]: rises and falls of at least θ, [T, N, 2C, ...].

        S_t = 1[x_t − x_{t−1} ≥ θ], then the same of −x;  x_{−1} = x_0, so nothing changes at t = 0

    Raises ConfigError for a threshold that isn't positive, or values without an axis of channels.
    """
    if not threshold > 0:
        raise ConfigError(f"threshold: wanted a change above 0, got {threshold}")
    if x.dim() < 3:
        raise ConfigError(f"delta: wanted a sequence [T, N, C, ...], got {list(x.shape)}")
    change = torch.diff(x, dim=0, prepend=x[:1])
    return torch.cat([change >= threshold, -change >= threshold], dim=2).to(x.dtype)


def _check(x: Tensor) -> None:
    low, high = (float(v) for v in x.aminmax())
    if low < 0 or high > 1:
        raise ConfigError(f"encoder: wanted values in [0, 1], got {low:g} to {high:g}")
