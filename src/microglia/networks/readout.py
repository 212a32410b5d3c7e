"""What is read of a recurrent network's spikes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, is_number


def filtered(spikes: Tensor, tau: float, *, dt: float, start: Tensor | None = None) -> Tensor:
    """r[t] = e^(−dt/τ) r[t−1] + S[t], the features of a reservoir [T, N, neurons].

    ``start`` is r[−1] [N, neurons], 0 where it is None; ``tau`` and ``dt`` are in seconds. Raises
    ConfigError where one isn't above 0.
    """
    _check_times(tau, dt)
    kept, traces = math.exp(-dt / tau), []
    trace = torch.zeros_like(spikes[0]) if start is None else start
    for s in spikes:
        trace = kept * trace + s
        traces.append(trace)
    return torch.stack(traces)


def _check_times(tau: float, dt: float) -> None:
    if not (is_number(tau) and is_number(dt) and 0 < tau < math.inf and 0 < dt < math.inf):
        raise ConfigError(f"tau, dt: finite times above 0 expected, got {tau!r} and {dt!r}")


class SpikeReadout(nn.Module):
    """Linear logits [N, classes] of spikes [T, N, neurons].

    Of the rate of each neuron over all T; or of its filtered spikes at the last step, where ``tau``
    is given, in seconds. ``nn.Sequential(HRSNN(config), SpikeReadout(800, 10))`` is a classifier.
    """

    def __init__(
        self, neurons: int, classes: int, *, tau: float | None = None, dt: float = 1e-3
    ) -> None:
        super().__init__()
        _check_times(1.0 if tau is None else tau, dt)
        self.tau, self.dt = tau, dt
        self.linear = nn.Linear(neurons, classes)

    def forward(self, spikes: Tensor) -> Tensor:
        if self.tau is None:
            return self.linear(spikes.mean(0))  # type: ignore[no-any-return]
        return self.linear(filtered(spikes, self.tau, dt=self.dt)[-1])  # type: ignore[no-any-return]
