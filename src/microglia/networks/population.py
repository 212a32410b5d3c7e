"""Random recurrent networks: what they are drawn from, and the draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from microglia.errors import ConfigError, is_number, is_whole
from microglia.frameworks import RecurrentNetwork
from microglia.networks.wiring import Distance, Edges, SmallWorld, long_range

Array = NDArray[Any]


@dataclass(frozen=True)
class Gamma:
    """Times of ``mean`` seconds, gamma distributed with this ``shape``; all alike where it is None.

    Their standard deviation is mean / √shape.
    """

    mean: float
    shape: float | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "shape"):
            value = getattr(self, name)
            if name == "shape" and value is None:
                continue
            if not is_number(value) or not 0 < value < np.inf:
                raise ConfigError(f"{name}: a time constant's {name} is above 0, got {value!r}")

    def draw(self, N: int, rng: np.random.Generator) -> Array:
        if self.shape is None:
            return np.full(N, self.mean)
        return rng.gamma(self.shape, self.mean / self.shape, N)


@dataclass(frozen=True, kw_only=True)
class HRSNNConfig:
    """What a heterogeneous recurrent spiking network is drawn from.

    Neurons are excitatory or inhibitory, and all synapses out of one are of its sign: lognormal
    with mean ``weight``, or −``g`` · ``weight``. Exact fractions of the neurons inhibit, and hear
    the input, with weights N(0, ``input_weight``²).

    The defaults are the operating point at which the pruning of such networks was measured; its
    input weights and bias aren't known, and were chosen so that it fires at some 25 Hz under noise
    and its recurrence is worth having (docs/results.md).

    Args:
        neurons: N.
        inputs: K, the channels of the input; 0 for none.
        wiring: a `SmallWorld` or a `Distance`.
        inhibitory: the fraction of neurons that inhibit.
        weight: mean weight of an excitatory synapse, in thresholds of the current.
        g: how many times stronger inhibition is.
        sigma: standard deviation of ln |w|; 0 makes them equal.
        tau_m, tau_s: membrane and synaptic time constants; ``tau_s`` None for none.
        fed: the fraction of neurons that hear the input.
        bias: b, of all neurons.
        refractory, dt: in seconds.
        reset: "zero" or "subtract".

    Source: Chakraborty & Mukhopadhyay, Frontiers in Neuroscience 2023 (HRSNN: gamma distributed
    time constants); the numbers are ours.
    """

    neurons: int = 800
    inputs: int = 4
    wiring: SmallWorld | Distance = field(default_factory=SmallWorld)
    inhibitory: float = 0.2
    weight: float = 0.06
    g: float = 4.0
    sigma: float = 0.8
    tau_m: Gamma = Gamma(20e-3, 3.0)
    tau_s: Gamma | None = Gamma(5e-3)
    refractory: float = 2e-3
    fed: float = 0.15
    input_weight: float = 1.0
    bias: float = 0.9
    reset: Literal["zero", "subtract"] = "zero"
    dt: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("neurons", "inputs"):
            value, least = getattr(self, name), 1 if name == "neurons" else 0
            if not is_whole(value) or value < least:
                raise ConfigError(f"{name}: a whole number from {least} on expected, got {value!r}")
        for name in ("inhibitory", "fed"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= 1:
                raise ConfigError(f"{name}: a fraction expected, got {value!r}")
        for name in ("weight", "g", "sigma", "input_weight", "refractory"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < np.inf:
                raise ConfigError(f"{name}: a finite number of at least 0 expected, got {value!r}")
        if not is_number(self.bias) or not np.isfinite(self.bias):
            raise ConfigError(f"bias: a finite number expected, got {self.bias!r}")
        if not is_number(self.dt) or not 0 < self.dt < np.inf:
            raise ConfigError(f"dt: a time above 0 expected, got {self.dt!r}")
        if not isinstance(self.wiring, (SmallWorld, Distance)):
            raise ConfigError(f"wiring: SmallWorld or Distance expected, got {self.wiring!r}")
        if not isinstance(self.tau_m, Gamma) or not isinstance(self.tau_s, (Gamma, type(None))):
            raise ConfigError(
                f"tau_m, tau_s: Gamma(mean, shape) expected, got {self.tau_m!r} and {self.tau_s!r}"
            )
        if self.reset not in ("zero", "subtract"):
            raise ConfigError(f"reset: 'zero' or 'subtract' expected, got {self.reset!r}")

    def draw(self, seed: int = 0) -> RecurrentNetwork:
        """A network; the same seed gives the same one."""
        return _network([self], [_population(self, np.random.default_rng(seed))])


@dataclass(frozen=True, kw_only=True)
class CHRSNNConfig:
    """Clusters of heterogeneous networks, each with distributions of its own, randomly joined.

    ``long_range`` is the fraction of all synapses that lead from one cluster to another, between
    neurons drawn at random; their weights are drawn as the presynaptic neuron's own cluster draws
    them. The clusters share inputs, reset, refractory time and dt; a cluster with ``fed=0`` hears
    no input.

    Source: Chakraborty et al., ICLR 2024 (clusters with their own time constants, joined to a
    small world). The paper's numbers could not be had; sizes and fractions are ours.
    """

    clusters: tuple[HRSNNConfig, ...]
    long_range: float = 0.03

    def __post_init__(self) -> None:
        if len(self.clusters) < 2:
            raise ConfigError(f"clusters: at least 2 expected, got {len(self.clusters)}")
        if not is_number(self.long_range) or not 0 <= self.long_range < 1:
            raise ConfigError(f"long_range: a fraction below 1 expected, got {self.long_range!r}")
        for name in ("inputs", "reset", "refractory", "dt"):
            values = {getattr(c, name) for c in self.clusters}
            if len(values) > 1:
                raise ConfigError(f"{name}: the same in all clusters expected, got {values}")
        if len({c.tau_s is None for c in self.clusters}) > 1:
            raise ConfigError("tau_s: all clusters have synaptic time constants, or none has")

    @property
    def cluster(self) -> Array:
        """The cluster of each neuron [N]."""
        return np.repeat(np.arange(len(self.clusters)), [c.neurons for c in self.clusters])

    def draw(self, seed: int = 0) -> RecurrentNetwork:
        """A network; the same seed gives the same one."""
        rng = np.random.default_rng(seed)
        drawn = [_population(c, rng) for c in self.clusters]
        inside = sum(len(p.post) for p in drawn)
        count = round(self.long_range / (1 - self.long_range) * inside)
        cluster = self.cluster
        post, pre = long_range(cluster, count, rng)
        inhibitory = np.concatenate([p.inhibitory for p in drawn])
        values = np.empty(count)
        for k, config in enumerate(self.clusters):
            mine = cluster[pre] == k
            values[mine] = _weights(config, inhibitory[pre[mine]], rng)
        return _network(self.clusters, drawn, (post, pre), values)


@dataclass(frozen=True, eq=False)
class _Population:
    """One cluster as it was drawn, its neurons counted from 0."""

    inhibitory: Array
    post: Array
    pre: Array
    values: Array
    tau_m: Array
    tau_s: Array | None
    inputs: Array  # [N, K], zeros where a neuron isn't fed


def _population(config: HRSNNConfig, rng: np.random.Generator) -> _Population:
    N = config.neurons
    inhibitory = _some(N, config.inhibitory, rng)
    post, pre = config.wiring.draw(inhibitory, rng)
    fed = _some(N, config.fed, rng)
    return _Population(
        inhibitory=inhibitory,
        post=post,
        pre=pre,
        values=_weights(config, inhibitory[pre], rng),
        tau_m=config.tau_m.draw(N, rng),
        tau_s=None if config.tau_s is None else config.tau_s.draw(N, rng),
        inputs=fed[:, None] * rng.normal(0, config.input_weight, (N, config.inputs)),
    )


def _some(N: int, fraction: float, rng: np.random.Generator) -> Array:
    """Which of N neurons are among the fraction, exactly."""
    chosen = np.zeros(N, dtype=bool)
    chosen[rng.permutation(N)[: round(fraction * N)]] = True
    return chosen


def _weights(config: HRSNNConfig, inhibits: Array, rng: np.random.Generator) -> Array:
    """Lognormal weights of synapses out of inhibitory neurons, or excitatory ones [E]."""
    size = np.exp(config.sigma * rng.standard_normal(len(inhibits)) - config.sigma**2 / 2)
    return config.weight * size * np.where(inhibits, -config.g, 1.0)


def _network(
    configs: list[HRSNNConfig] | tuple[HRSNNConfig, ...],
    drawn: list[_Population],
    between: Edges | None = None,
    values: Array | None = None,
) -> RecurrentNetwork:
    """The populations side by side, with the synapses ``between`` them."""
    sizes = [len(p.tau_m) for p in drawn]
    first = np.cumsum([0, *sizes])
    N = int(first[-1])
    post = [p.post + start for p, start in zip(drawn, first, strict=False)]
    pre = [p.pre + start for p, start in zip(drawn, first, strict=False)]
    weights = [p.values for p in drawn]
    if between is not None and values is not None:
        post, pre, weights = [*post, between[0]], [*pre, between[1]], [*weights, values]
    W = sparse.csr_array(
        (np.concatenate(weights), (np.concatenate(post), np.concatenate(pre))), shape=(N, N)
    )
    shared = configs[0]
    tau_s = [p.tau_s for p in drawn if p.tau_s is not None]
    return RecurrentNetwork(
        weights=W,
        tau_m=np.concatenate([p.tau_m for p in drawn]),
        tau_s=np.concatenate(tau_s) if tau_s else None,
        inputs=sparse.csr_array(np.concatenate([p.inputs for p in drawn]))
        if shared.inputs
        else None,
        bias=np.repeat([c.bias for c in configs], sizes),
        inhibitory=np.concatenate([p.inhibitory for p in drawn]),
        reset=shared.reset,
        refractory=shared.refractory,
        dt=shared.dt,
    )
