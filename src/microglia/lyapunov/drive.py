"""What comes into a recurrent network from outside, and what makes its exponents undefined."""

from __future__ import annotations

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array, RecurrentNetwork


def check_drive(network: RecurrentNetwork, drive: Array | None, steps: int) -> None:
    """Raises ConfigError for a drive u [T, K] that doesn't fit W_in, or ends too early."""
    if drive is None:
        return
    K = 0 if network.inputs is None else network.inputs.shape[1]
    if network.inputs is None or np.ndim(drive) != 2 or drive.shape[1] != K:
        raise ConfigError(f"drive: wanted [T, {K}] to fit inputs, got {np.shape(drive)}")
    if not np.isfinite(drive).all():
        raise ConfigError("drive: wanted finite numbers, got some that aren't")
    if len(drive) < steps:
        raise ConfigError(
            f"drive: wanted {steps} steps of {network.dt:g} s, got {len(drive)}; "
            "lower duration, warmup or transient"
        )


def currents(network: RecurrentNetwork, drive: Array | None, start: int, stop: int) -> Array:
    """b + W_in u of the steps from `start` to `stop`, [stop − start, N]."""
    bias = np.tile(np.asarray(network.bias, float), (stop - start, 1))
    if drive is None or network.inputs is None:
        return bias
    bias += np.asarray(network.inputs @ drive[start:stop].T).T
    return bias


def fastest_rate(network: RecurrentNetwork) -> float:
    """Spikes a second of one neuron on the grid: one in a step and the refractory time after it."""
    return 1 / (network.refractory + network.dt)


def check_rate(network: RecurrentNetwork, rate: float, duration: float) -> None:
    """Raises ConfigError where (nearly) nobody or everybody fires all the time."""
    if rate == 0:
        raise ConfigError(
            f"no neuron fired in {duration:g} s, and the exponents of a silent network are "
            "undefined; raise the bias, the drive or the weights"
        )
    fastest = fastest_rate(network)
    if rate > 0.9 * fastest:
        raise ConfigError(
            f"the network is saturated: it fires {rate:.0f} times a second and neuron, at most "
            f"{fastest:.0f} are possible, and its exponents are undefined; lower the weights, the "
            "bias or the drive"
        )
