"""How much a perturbation of each single neuron grows in a short time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array, RecurrentNetwork
from microglia.lyapunov.drive import check_drive, check_rate
from microglia.lyapunov.given import network_of
from microglia.lyapunov.streams import stream
from microglia.lyapunov.surrogate import GridFlow


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronExponents:
    """A finite-time exponent Λ_i of each neuron.

    Args:
        values: Λ [N], in 1/s.
        window: the time T over which perturbations grew, in seconds.
        gamma: steepness of the surrogate derivative.
        rate: mean firing rate in Hz.
    """

    values: Array
    window: float
    gamma: float
    rate: float

    @property
    def positive(self) -> Array:
        """r_i = exp((Λ_i − mean Λ) T) [N]: positive for exponents of either sign."""
        return np.asarray(np.exp((self.values - self.values.mean()) * self.window))


def neuron_exponents(
    network: RecurrentNetwork | nn.Module,
    drive: Array | None = None,
    *,
    probes: int = 16,
    windows: int = 10,
    window: float = 0.05,
    gamma: float = 5.0,
    warmup: float = 0.5,
    seed: int = 0,
) -> NeuronExponents:
    """Finite-time exponents of single neurons, by adjoint probes.

    Λ_i = mean over windows of (1/2T) log mean_z (Φᵀ z)²_{V_i}: Φ carries perturbations through a
    window of T with the surrogate derivative of `GridFlow`, and Gaussian z on all final states make
    the mean an estimate of |Φ e_{V_i}|², in O(E T m) for m probes and E synapses. A reconstruction,
    as the paper that uses exponents of neurons leaves their definition out; it is one definition
    among others: with exponents of neurons from saltation matrices and QR its rank correlation was
    −0.3, and it follows mostly out-strength and τ_m.

    Args:
        drive: u [T, K], held for a step of the network's grid each; it covers warmup and windows.
        probes: m. Sixteen rank neurons as 64 do (Spearman at least 0.98).
        windows: how many windows, one after the other.
        window: T in seconds.
        gamma: γ of the surrogate derivative; 5 and 20 correlated by 0.78.
        seed: of the first state and of the probes.

    Raises:
        ConfigError: a network that is silent or saturated; settings out of range.
    """
    network = network_of(network, to="neuron_exponents")
    steps, before = round(window / network.dt), round(warmup / network.dt)
    if min(probes, windows, steps) < 1 or before < 0 or not gamma > 0:
        raise ConfigError(
            f"wanted probes and windows of at least 1, window of at least {network.dt:g} s, gamma "
            f"above 0, warmup of at least 0; got {probes}, {windows}, {window}, {gamma}, {warmup}"
        )
    check_drive(network, drive, before + windows * steps)
    rng = stream(seed, "probes")
    flow = GridFlow(network, drive=drive, gamma=gamma, seed=seed)
    flow.advance(before)
    spikes = flow.spikes
    logs = np.zeros(len(network))
    for _ in range(windows):
        slopes = []
        for _ in range(steps):
            slopes.append(flow.slope())
            flow.advance(1)
        logs += np.log(_gain(flow, slopes, rng.standard_normal((2, len(network), probes))))
    T = steps * network.dt
    rate = (flow.spikes - spikes) / (len(network) * windows * T)
    check_rate(network, rate, windows * T)
    return NeuronExponents(values=logs / (2 * T * windows), window=T, gamma=gamma, rate=rate)


def _gain(flow: GridFlow, slopes: list[Array], z: Array) -> Array:
    """mean_z (Φᵀ z)²_{V_i} [N], for probes z [2, N, m] on the potentials and on the currents."""
    alpha, beta = flow.alpha[:, None], flow.beta[:, None]
    back = flow.network.weights.T.tocsr()
    dH, dI = z
    # Of a neuron that nobody hears a window can leave less than the smallest number.
    least = np.finfo(np.float64).tiny
    if flow.network.tau_s is None:
        dI = np.zeros_like(dH)
    for slope in reversed(slopes):
        arrived = dI + (1 - beta) * dH
        dH = beta * dH + slope[:, None] * (back @ arrived)
        dI = alpha * arrived
    return np.asarray(np.maximum((dH**2).mean(1), least))
