"""The networks that Lyapunov noise pruning is compared with, and the figures of each."""

from __future__ import annotations

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import LNPConfig, Spectrum, linear_stability, lyapunov_spectrum
from microglia.lyapunov.betweenness import least_important
from microglia.lyapunov.calibrate import Metric, calibrate_gain
from microglia.lyapunov.controls import (
    fresh_sparse,
    largest_synapses,
    no_recurrence,
    random_synapses,
)
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.graph import Array
from microglia.lyapunov.noise import smooth_noise
from microglia.lyapunov.sparsify import protected
from microglia.simulation import simulate

SETTLE = 0.7  # s before exponents are measured: warmup and alignment


def controlled(
    name: str,
    dense: RecurrentNetwork,
    small: RecurrentNetwork,
    config: LNPConfig,
    *,
    seed: int,
    metric: Metric,
) -> RecurrentNetwork:
    """A network with as many neurons and synapses as the pruned one, chosen by another rule.

        random      neurons and synapses drawn
        fresh       neurons drawn, new synapses between them
        magnitude   neurons drawn, the largest |w|
        activity    the neurons that fire most, synapses drawn
        none        the pruned network's neurons, no synapse

    Neurons go in proportion of their types and input-fed ones stay, as in step II; gains are
    calibrated alike.
    """
    generator = np.random.default_rng([seed, 99])
    if name == "none":
        return small.with_weights(no_recurrence(small.weights))
    worth: Array = generator.random(len(dense))
    if name == "activity":
        worth = estimate_gains(dense, generator=generator).rate
    gone = least_important(
        worth,
        len(dense) - len(small),
        inhibitory=dense.inhibitory if config.stratified else None,
        protected=protected(dense),
    )
    part = dense.of(np.setdiff1d(np.arange(len(dense)), gone))
    W = part.weights
    budget = min(small.weights.nnz, W.nnz)
    if name == "magnitude":
        weights = largest_synapses(W, budget)
    elif name == "fresh":
        weights = fresh_sparse(W, budget, generator, inhibitory=part.inhibitory)
    else:
        weights = random_synapses(W, budget, generator)
    return calibrate_gain(
        part.with_weights(weights), dense, by=config.calibrate, metric=metric
    ).network


def figures_of(
    network: RecurrentNetwork, *, seconds: float, seed: int, metric: Metric | None
) -> dict[str, float]:
    """What the table says of a network; figures that are undefined for it are left out."""
    row: dict[str, float] = {
        "neurons": float(len(network)),
        "synapses": float(network.weights.nnz),
    }
    if metric is not None and network.inputs is not None:
        row["memory"] = metric(network)
    drive = _noise(network, seconds, seed)
    T = round(seconds / network.dt)
    run = simulate(network, drive, T=T)
    row["rate"] = len(run.steps) / (len(network) * seconds)
    row["synops"] = run.synops(network.weights) / (1e3 * seconds)
    linear = linear_stability(network, seed=seed)
    row |= {"reach": linear.reach, "abscissa": linear.abscissa}
    found = spectrum_of(network, k=1, seconds=seconds, seed=seed)
    if found is not None:
        row["lambda"] = float(found.exponents[0])
        row["lambda_error"] = float(found.errors[0])
    return row


def spectrum_of(network: RecurrentNetwork, *, k: int, seconds: float, seed: int) -> Spectrum | None:
    """Spike-exact exponents under smooth noise; None for a network that is silent or saturated."""
    try:
        found = lyapunov_spectrum(
            network,
            k=k,
            duration=seconds,
            drive=_noise(network, seconds + SETTLE + 0.1, seed),
            seed=seed,
        )
    except ConfigError as error:
        if "undefined" in str(error):
            return None
        raise
    return found if np.isfinite(found.exponents).all() else None


def _noise(network: RecurrentNetwork, seconds: float, seed: int) -> Array | None:
    if network.inputs is None:
        return None
    generator = np.random.default_rng([seed, 7])
    channels = network.inputs.shape[1]
    return smooth_noise(channels, duration=seconds, dt=network.dt, generator=generator)
