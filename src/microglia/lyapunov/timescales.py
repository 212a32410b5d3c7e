"""Step IV: membrane time constants by Bayesian optimisation on Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array, RecurrentNetwork
from microglia.lyapunov.calibrate import Metric
from microglia.lyapunov.exponents import lyapunov_spectrum
from microglia.lyapunov.extras import extra
from microglia.lyapunov.memory import memory_capacity
from microglia.lyapunov.noise import smooth_noise
from microglia.lyapunov.streams import stream

SHIFT, SPREAD = (-0.8, 0.8), (0.2, 1.8)
OBJECTIVES = ("edge", "spectrum", "slow")
UNDEFINED = 1e6


@dataclass(frozen=True, eq=False)
class Retuned:
    """The network, and whether its time constants are new; every evaluation's θ and objective.

    `before` and `after` are the metric that decided.
    """

    network: RecurrentNetwork
    accepted: bool
    evaluations: tuple[tuple[dict[str, float], float], ...]
    before: float
    after: float


def retune_time_constants(
    network: RecurrentNetwork,
    dense: RecurrentNetwork,
    *,
    objective: str = "edge",
    evaluations: int = 16,
    duration: float = 5.0,
    metric: Metric = memory_capacity,
    seed: int = 0,
) -> Retuned:
    """Move and stretch the τ_m of each type of neuron so that the exponents suit the objective.

        log τ' = m + a + s (log τ − m),   m = mean log τ,   a in [−0.8, 0.8],   s in [0.2, 1.8]

        edge       least |λ_1| + 2 max(0, λ_1): the edge of stability
        spectrum   least Σ_q (λ_q − λ_q of the dense network)², over quantiles of the leading
                   exponents, each as a share of the largest in size
        slow       most exponents within 5/s of 0

    That time constants are found by Bayesian optimisation on the Lyapunov spectrum is the paper's;
    objectives, θ and acceptance are reconstructions. Measured, "edge" is the only one without a
    large loss elsewhere, and its gain is small. Exponents are exact ones under smooth noise, the
    same for every θ, or under the bias alone where the network has no inputs; Optuna's Gaussian
    process proposes θ, the unchanged τ_m first. What is found is accepted only if the metric
    doesn't fall.

    Args:
        duration: of network time for each evaluation, in seconds; short ones scatter by ±2/s.

    Raises:
        ConfigError: an unknown objective, Optuna or Numba isn't installed, or exponents that are
            undefined throughout.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"retune: one of {OBJECTIVES} expected, got '{objective}'")
    if evaluations < 1:
        raise ConfigError(f"evaluations: wanted at least 1, got {evaluations}")
    optuna = extra("optuna", to="Bayesian optimisation")
    types = _types(network)
    cost = _objective(objective, dense, duration=duration, seed=seed)
    space = {}
    for name in types:
        space[f"shift {name}"] = optuna.distributions.FloatDistribution(*SHIFT)
        space[f"spread {name}"] = optuna.distributions.FloatDistribution(*SPREAD)
    study = optuna.create_study(sampler=_sampler(optuna, seed))
    study.enqueue_trial({key: float(key.startswith("spread")) for key in space})
    found: list[tuple[dict[str, float], float]] = []
    for _ in range(evaluations):
        trial = study.ask(space)
        value = cost(replace(network, tau_m=_moved(network.tau_m, types, trial.params)))
        study.tell(trial, value)
        found.append((dict(trial.params), value))
    best, least = min(found, key=lambda pair: pair[1])
    if least == UNDEFINED:
        raise ConfigError(
            "retune: the network is silent or saturated with every time constant that was tried, "
            "so it has no exponents; calibrate its gain first, or set retune='off'"
        )
    retuned = replace(network, tau_m=_moved(network.tau_m, types, best))
    before, after = metric(network), metric(retuned)
    accepted = after >= before and retuned.tau_m.tobytes() != network.tau_m.tobytes()
    return Retuned(retuned if accepted else network, accepted, tuple(found), before, after)


def _sampler(optuna: Any, seed: int) -> Any:
    """A Gaussian process, after a few points drawn at random."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=6)


def _types(network: RecurrentNetwork) -> dict[str, Array]:
    """Which neurons move together, boolean [N]."""
    if network.inhibitory is None:
        return {"all": np.ones(len(network), bool)}
    inhibitory = np.asarray(network.inhibitory, bool)
    types = {"excitatory": ~inhibitory, "inhibitory": inhibitory}
    return {name: mask for name, mask in types.items() if mask.any()}


def _moved(tau: Array, types: dict[str, Array], theta: dict[str, float]) -> Array:
    moved = np.array(tau, dtype=np.float64)
    for name, mask in types.items():
        shift, spread = theta[f"shift {name}"], theta[f"spread {name}"]
        if (shift, spread) == (0.0, 1.0):
            continue  # to the bit what it was
        logs = np.log(moved[mask])
        moved[mask] = np.exp(logs.mean() + shift + spread * (logs - logs.mean()))
    return moved


def _objective(
    name: str, dense: RecurrentNetwork, *, duration: float, seed: int
) -> Callable[[RecurrentNetwork], float]:
    """What a network costs; infinitely much where its exponents are undefined."""

    def exponents(of: RecurrentNetwork, k: int) -> Array:
        drive = None
        if of.inputs is not None:
            drive = smooth_noise(
                of.inputs.shape[1],
                duration=duration + 1.0,  # and what comes before it is measured
                dt=of.dt,
                generator=stream(seed, "input"),
            )
        found = lyapunov_spectrum(of, k=k, duration=duration, drive=drive, seed=seed).exponents
        # Where a jump sets a neuron to zero, a direction is lost at once: that is no time scale.
        found = found[np.isfinite(found)]
        if not len(found):
            raise ConfigError("retune: no perturbation of the network outlives a spike")
        return found

    k = max(8, round(0.12 * 2 * len(dense))) if name == "spectrum" else 20
    wanted = _quantiles(exponents(dense, min(k, 2 * len(dense)))) if name == "spectrum" else None

    def cost(network: RecurrentNetwork) -> float:
        try:
            found = exponents(network, 1 if name == "edge" else min(k, 2 * len(network)))
        except ConfigError:  # silent, saturated, or without memory
            return UNDEFINED
        if name == "edge":
            return float(abs(found[0]) + 2 * max(0.0, found[0]))
        if name == "slow":
            return -float((np.abs(found) < 5.0).sum())
        assert wanted is not None
        return float(((_quantiles(found) - wanted) ** 2).sum())

    return cost


def _quantiles(exponents: Array) -> Array:
    """Eight quantiles of the leading exponents, as shares of the largest in size."""
    return np.asarray(np.quantile(exponents / np.abs(exponents).max(), np.linspace(0, 1, 8)))
