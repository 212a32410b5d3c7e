"""Lyapunov exponents of any network that we know the dynamics of."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch import nn

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array, RecurrentNetwork
from microglia.lyapunov.benettin import Flow, growth
from microglia.lyapunov.drive import check_drive, check_rate
from microglia.lyapunov.exact import ExactFlow
from microglia.lyapunov.given import network_of
from microglia.lyapunov.smooth import MapFlow, RateFlow, RateNetwork, SmoothMap
from microglia.lyapunov.spectrum import Spectrum, rates_of_growth
from microglia.lyapunov.streams import stream
from microglia.lyapunov.surrogate import GridFlow

Dynamics = RecurrentNetwork | RateNetwork | SmoothMap


def lyapunov_spectrum(
    network: Dynamics | nn.Module,
    *,
    k: int | None = 20,
    duration: float = 2.0,
    drive: Array | None = None,
    method: Literal["exact", "surrogate"] = "exact",
    gamma: float = 5.0,
    warmup: float = 0.5,
    transient: float = 0.2,
    interval: float | None = None,
    windows: int = 10,
    seed: int = 0,
) -> Spectrum:
    """The leading Lyapunov exponents of a network, in 1/s.

    λ_a = lim (1/T) Σ log R_aa, from QR decompositions of perturbations along the trajectory
    (Benettin et al. 1980). Spiking networks, by `method`:

    - "exact": the differential equations, spikes at their exact times, saltation matrices at
      threshold crossings and at the ends of refractory times. An uncoupled network that fires
      has λ_1 = 0. Needs Numba.
    - "surrogate": the grid's Jacobian, with the spikes' derivative 1 / (1 + γ |H − θ|)² and without
      reset. What gradients through time see, and not the network's stability: values depend on γ,
      and even the sign isn't fixed (one network gave λ_1 = 24/s at γ = 5 and −17/s at γ = 20, with
      exact exponents of 1 to 7/s).

    Exact exponents of short times scatter: ±2/s in 0.6 to 1 s for a network of 800 neurons.

    Args:
        network: a `RecurrentNetwork`, a `RateNetwork`, a `SmoothMap`, or a torch module with
            recurrent neurons.
        k: how many exponents; None for all. There are 2N of a spiking network with synaptic
            currents, and N of any other.
        duration: the time measured, in seconds, after `warmup` (the state alone) and `transient`
            (perturbations turn into the leading directions).
        drive: u [T, K], held for a step of the network's grid each; it covers all three times,
            each rounded up to whole intervals. Of a module it is the recurrent layer's input.
        gamma: γ of the surrogate derivative.
        interval: the time from one QR decomposition to the next; None for 10 ms, or ten times the
            shortest time constant if that is less; of a map, one step. A long one lets directions
            that decay fast drown in rounding: their exponents are then −inf.
        windows: how many windows of the duration the standard errors come from.
        seed: of the first state and of the first perturbations.

    Raises:
        ConfigError: a network that is silent or saturated, for which exponents are undefined; one
            that grows beyond all bounds; settings out of range; Numba isn't installed.
    """
    system: Dynamics = (
        network_of(network, to="lyapunov_spectrum") if isinstance(network, nn.Module) else network
    )
    _check(system, drive, method=method, k=k, gamma=gamma, windows=windows)
    times = {"duration": duration, "warmup": warmup, "transient": transient}
    for name, time in {**times, "interval": interval or 0.0}.items():
        if not 0 <= time < np.inf:
            raise ConfigError(f"{name}: wanted finite seconds of at least 0, got {time}")
    dt = system.dt
    steps = max(1, round((_interval(system) if interval is None else interval) / dt))
    aligning, measured = (round(time / (steps * dt)) for time in (transient, duration))
    if measured < windows:
        raise ConfigError(
            f"duration: wanted at least {windows} intervals of {steps * dt:g} s, got {duration:g} s"
        )
    flow: Flow
    how: str = method
    match system:
        case RateNetwork():
            how, flow = "smooth", RateFlow(system, seed=seed)
        case SmoothMap():
            how, flow = "smooth", MapFlow(system)
        case _:
            check_drive(system, drive, round(warmup / dt) + (aligning + measured) * steps)
            if method == "exact":
                flow = ExactFlow(system, drive=drive, seed=seed)
            else:
                flow = GridFlow(system, drive=drive, gamma=gamma, seed=seed)

    flow.advance(round(warmup / dt))
    k = flow.dimension if k is None else min(k, flow.dimension)
    flow.tangent = np.linalg.qr(flow.directions(k, stream(seed, "directions")))[0]
    growth(flow, aligning, steps)
    before = flow.spikes
    exponents, errors = rates_of_growth(growth(flow, measured, steps), steps * dt, windows)

    duration, rate = measured * steps * dt, None
    if isinstance(system, RecurrentNetwork):
        rate = (flow.spikes - before) / (len(system) * duration)
        check_rate(system, rate, duration)
    return Spectrum(
        exponents=exponents,
        errors=errors,
        dimension=flow.dimension,
        method=how,
        duration=duration,
        rate=rate,
        gamma=gamma if how == "surrogate" else None,
    )


def _check(
    network: Any, drive: Array | None, *, method: str, k: int | None, gamma: float, windows: int
) -> None:
    if not isinstance(network, Dynamics):
        raise ConfigError(
            "lyapunov_spectrum: wanted a RecurrentNetwork, a RateNetwork, a SmoothMap or a torch "
            f"module, got {type(network).__name__}"
        )
    if drive is not None and not isinstance(network, RecurrentNetwork):
        raise ConfigError("drive: only spiking networks take one; put it into bias or step")
    if method not in ("exact", "surrogate"):
        raise ConfigError(f"method: 'exact' or 'surrogate' expected, got {method!r}")
    if (k is not None and k < 1) or windows < 2 or not gamma > 0:
        raise ConfigError(
            f"wanted k of at least 1, windows of at least 2, gamma above 0; got {k}, {windows} "
            f"and {gamma}"
        )


def _interval(network: Dynamics) -> float:
    if isinstance(network, SmoothMap):
        return network.dt
    if isinstance(network, RateNetwork):
        return float(min(0.01, 10 * network.tau.min()))
    shortest = network.tau_m.min()
    if network.tau_s is not None:
        shortest = min(shortest, network.tau_s.min())
    return float(min(0.01, 10 * shortest))
