"""Steps I and II on one network: what its synapses are worth, and which of them stay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.betweenness import importance, least_important
from microglia.lyapunov.config import LNPConfig
from microglia.lyapunov.covariance import covariance
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.graph import Array, ends, same_synapses, thin
from microglia.lyapunov.keep import keep_scores
from microglia.lyapunov.linearisation import Linearisation, linearise
from microglia.lyapunov.neurons import neuron_exponents
from microglia.lyapunov.noise import smooth_noise
from microglia.lyapunov.refill import refill
from microglia.lyapunov.sampling import growth, systematic, water_filling


@dataclass(frozen=True, eq=False, kw_only=True)
class Worth:
    """What survival probabilities are in proportion to, `scores` [E]; each neuron's firing rate in
    Hz [N]; the linear network behind both; how many neurons answered to nothing."""

    scores: Array
    rate: Array
    linear: Linearisation
    silent: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Left:
    """Which neurons `stay`, boolean [N], and what each synapse is multiplied by, `growth` [E]: 0
    where it goes, 1 where it stays without rescale."""

    stay: Array
    growth: Array

    @property
    def kept(self) -> Array:
        """Which synapses stay, boolean [E]."""
        return self.growth > 0

    def synapses(self, weights: sparse.csr_array) -> sparse.csr_array:
        """What is left of W, between the same neurons."""
        return thin(same_synapses(weights, weights.data * self.growth), self.kept)

    def of(self, network: RecurrentNetwork) -> RecurrentNetwork:
        """What is left of a network."""
        small = network.with_weights(self.synapses(network.weights))
        return small.of(np.flatnonzero(self.stay))


def worth(
    network: RecurrentNetwork,
    config: LNPConfig,
    generator: np.random.Generator,
    *,
    besides: sparse.csr_array | None = None,
) -> Worth:
    """What each synapse of a network is worth to step I.

    Args:
        besides: W [N, N] of synapses that act in the network and aren't looked at, as a reset that
            is written as one.
    """
    acting = network if besides is None else network.with_weights(network.weights + besides)
    gains = estimate_gains(acting, generator=generator)
    linear = linearise(network.weights, network.tau_m, tau_s=tau_s(network), gains=gains.gain)
    rates = None
    if config.reading not in ("MC", "weight"):
        rates = _growth(acting, generator)
    scores = keep_scores(
        network.weights,
        linear,
        rates,
        reading=config.reading,
        eta=config.eta,
        covariance_of=partial(covariance, method=config.covariance, generator=generator),
    )
    silent = int((gains.gain == 0).sum())
    return Worth(scores=scores, rate=gains.rate, linear=linear, silent=silent)


def draw(
    network: RecurrentNetwork,
    worth: Worth,
    config: LNPConfig,
    generator: np.random.Generator,
    *,
    synapses_left: int,
    neurons_left: int,
) -> Left:
    """Exactly so many synapses and neurons: I draws synapses, II removes neurons, and what is then
    too many is thinned, too few filled up."""
    W, N, scores = network.weights, len(network), worth.scores
    first = min(int(np.count_nonzero(scores)), round(synapses_left * (N / neurons_left) ** 2))
    kept = systematic(water_filling(scores, first), generator)

    stay, fixed = np.ones(N, bool), protected(network)
    if neurons_left < N:
        if neurons_left < fixed.sum():
            raise ConfigError(
                f"neurons: {neurons_left:,} of {N:,} are to stay, but {fixed.sum():,} have input "
                f"and stay for it; ask for at most {np.mean(~fixed):.3g}, or fewer with input"
            )
        values = importance(
            thin(W, kept), config.criterion, activity=worth.rate, generator=generator
        )
        types = network.inhibitory if config.stratified else None
        gone = least_important(values, N - neurons_left, inhibitory=types, protected=fixed)
        stay[gone] = False

    post, pre = ends(W)
    allowed = stay[post] & stay[pre]
    kept = refill(kept, allowed, scores, synapses_left, generator)
    open_ = np.where(allowed, scores, 0.0)
    p = water_filling(open_, min(synapses_left, int(np.count_nonzero(open_))))
    chance = np.where(kept & (p > 0), p, 1.0)  # what fills up scored 0, and isn't grown
    return Left(stay=stay, growth=growth(chance, kept, rescale=config.rescale))


def draw_in_rounds(
    network: RecurrentNetwork,
    first: Worth,
    config: LNPConfig,
    *,
    seed: int,
    synapses_left: int,
    neurons_left: int,
    besides: sparse.csr_array,
) -> Left:
    """`draw`, `config.rounds` times, each from what the one before left, whose worth is found anew.

    Args:
        first: the worth of the network as it came.
        besides: as in `worth`.
    """
    E, N = network.weights.nnz, len(network)
    synapse, neuron, grown = np.arange(E), np.arange(N), np.ones(E)
    budgets = (
        milestones(E, synapses_left, config.rounds),
        milestones(N, neurons_left, config.rounds),
    )
    for r, (few, small) in enumerate(zip(*budgets, strict=True)):
        found = first
        if r:
            found = worth(network, config, np.random.default_rng([seed, 2 * r]), besides=besides)
        generator = np.random.default_rng([seed, 2 * r + 1])
        left = draw(network, found, config, generator, synapses_left=few, neurons_left=small)
        grown[synapse] *= left.growth
        network, besides = left.of(network), besides[left.stay][:, left.stay]
        synapse, neuron = synapse[left.kept], neuron[left.stay]
    stay = np.zeros(N, bool)
    stay[neuron] = True
    return Left(stay=stay, growth=grown)


def milestones(whole: int, last: int, rounds: int) -> list[int]:
    """How many are left after each round, the same fraction taken every time."""
    if not last:
        return [0] * rounds
    return [round(whole * (last / whole) ** (r / rounds)) for r in range(1, rounds + 1)]


def fed(network: RecurrentNetwork) -> Array:
    """Which neurons get input, boolean [N]."""
    if network.inputs is None:
        return np.zeros(len(network), bool)
    return np.asarray(abs(network.inputs).sum(axis=1) > 0).ravel()


def protected(network: RecurrentNetwork) -> Array:
    """The neurons that step II leaves: those with input, or none where all have it."""
    hear = fed(network)
    return np.zeros(len(network), bool) if hear.all() else hear


def tau_s(network: RecurrentNetwork) -> Array:
    """Synaptic time constants; a current without one lasts a step."""
    return np.full(len(network), network.dt) if network.tau_s is None else network.tau_s


def _growth(network: RecurrentNetwork, generator: np.random.Generator) -> Array:
    """The positive rate r of each neuron, with smooth noise as input."""
    drive = None
    if network.inputs is not None:
        channels = network.inputs.shape[1]
        drive = smooth_noise(channels, duration=1.5, dt=network.dt, generator=generator)
    seed = int(generator.integers(2**31))
    return neuron_exponents(network, drive, seed=seed).positive
