"""How far back a network's spikes tell what came in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.noise import steps_in
from microglia.lyapunov.streams import stream
from microglia.simulation import fit_ridge, simulate

Array = NDArray[Any]


def memory_capacity(
    net: RecurrentNetwork,
    *,
    steps: int = 3000,
    delays: int = 20,
    hold: float = 0.02,
    tau: float = 0.04,
    seed: int = 0,
) -> float:
    """The linear memory capacity for white noise, which no task is needed for.

        MC = Σ_d r²(u_{k−d}, û_d,k),   d = 1 .. delays,   û_d = ridge readout of filtered spikes

    A scalar u, new every `hold` seconds, drives all inputs with random signs. Readouts learn on the
    first half after a start of `2 · delays` values, choose their penalty on the next quarter, and
    are scored on the last.

    Args:
        tau: time constant of the filter over the spikes, in seconds.

    Returns:
        MC, in [0, delays].

    Raises:
        ConfigError: nothing comes into the network, too few steps for the delays, or values that
            last for less than a step of the grid.
    """
    if net.inputs is None:
        raise ConfigError("memory capacity: the network has no inputs; give it W_in")
    if steps < 20 * delays:
        raise ConfigError(f"steps: at least {20 * delays} for {delays} delays, got {steps}")
    generator = stream(seed, "input")
    values, lasts = generator.uniform(-1, 1, steps), steps_in(hold, net.dt)
    signs = generator.choice([-1.0, 1.0], net.inputs.shape[1])
    simulation = simulate(net, values[:, None] * signs, hold=lasts)
    features = simulation.filtered(tau, dt=net.dt, every=lasts)
    past = np.stack([np.roll(values, d) for d in range(1, delays + 1)], axis=1)
    X, Y = features[2 * delays :], past[2 * delays :]
    half, rest = len(X) // 2, 3 * len(X) // 4
    readout = fit_ridge(X[:half], Y[:half], held_out=(X[half:rest], Y[half:rest]))
    return float(_r2(readout(X[rest:]), Y[rest:]).sum())


def _r2(predicted: Array, wanted: Array) -> Array:
    """Squared correlation of each column; 0 where one of them is constant."""
    a, b = predicted - predicted.mean(0), wanted - wanted.mean(0)
    scale = (a**2).sum(0) * (b**2).sum(0)
    shares: Array = np.divide((a * b).sum(0) ** 2, scale, out=np.zeros(len(scale)), where=scale > 0)
    return shares
