"""How far back a network's spikes tell what came in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.noise import held_noise
from microglia.simulation import simulate

Array = NDArray[Any]

PENALTIES = 10.0 ** np.arange(-4, 5)  # of the ridge, times the mean variance of the features


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
        ConfigError: nothing comes into the network, or too few steps for the delays.
    """
    if net.inputs is None:
        raise ConfigError("memory capacity: the network has no inputs; give it W_in")
    if steps < 20 * delays:
        raise ConfigError(f"steps: at least {20 * delays} for {delays} delays, got {steps}")
    generator = np.random.default_rng(seed)
    values, held = held_noise(steps, hold=hold, dt=net.dt, generator=generator)
    signs = generator.choice([-1.0, 1.0], net.inputs.shape[1])
    simulation = simulate(net, held[:, None] * signs)
    features = simulation.filtered(tau, dt=net.dt, every=len(held) // steps)
    past = np.stack([np.roll(values, d) for d in range(1, delays + 1)], axis=1)
    return float(_scores(features[2 * delays :], past[2 * delays :]).sum())


def _scores(features: Array, targets: Array) -> Array:
    """r² of each target on the last quarter; the penalty is each target's own best."""
    half, rest = len(features) // 2, 3 * len(features) // 4
    mean, middle = features[:half].mean(0), targets[:half].mean(0)
    x, y = features - mean, targets - middle
    level, basis = eigh(x[:half].T @ x[:half])
    seen = basis.T @ (x[:half].T @ y[:half])
    unit = max(float(level.mean()), np.finfo(float).tiny)
    predicted = [x[half:] @ (basis @ (seen / (level + p * unit)[:, None])) for p in PENALTIES]
    cut = rest - half
    chosen = np.argmax([_r2(p[:cut], y[half:rest]) for p in predicted], axis=0)
    tested = np.stack([_r2(p[cut:], y[rest:]) for p in predicted])
    return tested[chosen, np.arange(targets.shape[1])]


def _r2(predicted: Array, wanted: Array) -> Array:
    """Squared correlation of each column; 0 where one of them is constant."""
    a, b = predicted - predicted.mean(0), wanted - wanted.mean(0)
    scale = (a**2).sum(0) * (b**2).sum(0)
    return np.divide((a * b).sum(0) ** 2, scale, out=np.zeros(len(scale)), where=scale > 0)
