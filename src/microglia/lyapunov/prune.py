"""Lyapunov noise pruning: the four steps in a row, then one gain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from torch import nn

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.calibrate import Metric, calibrate_gain
from microglia.lyapunov.config import LNPConfig
from microglia.lyapunov.delocalise import delocalise
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.given import network_of
from microglia.lyapunov.graph import Array, ends, synapses
from microglia.lyapunov.leak import match_leak
from microglia.lyapunov.memory import memory_capacity
from microglia.lyapunov.reach import cut_off
from microglia.lyapunov.sparsify import draw, fed, milestones, tau_s, worth
from microglia.lyapunov.stability import linear_stability
from microglia.lyapunov.timescales import retune_time_constants


@dataclass(frozen=True)
class Step:
    """One step done: its name, what is left, and what there is to say.

    `reach` and `abscissa` (1/s) tell how stable what is left is; see `Stability`. None in files of
    networks that were pruned before it was looked at.
    """

    name: str
    neurons: int
    synapses: int
    said: str
    reach: float | None = None
    abscissa: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Pruned:
    """The network that is left, and how it came about.

    Args:
        network: of the neurons that stay.
        neurons: which they are, their indices in the network that came, sorted [n].
        gain: what all weights were multiplied by.
        steps: what was done, in order.
    """

    network: RecurrentNetwork
    neurons: Array
    gain: float = 1.0
    steps: tuple[Step, ...] = field(default=())

    def __repr__(self) -> str:
        steps = "".join(
            f"\n  {s.name}: {s.neurons:,} neurons, {s.synapses:,} synapses; {s.said}"
            for s in self.steps
        )
        return f"Pruned({self.network}, weights times {self.gain:.3g}){steps}"

    @classmethod
    def begin(cls, network: RecurrentNetwork) -> Pruned:
        """Nothing pruned yet."""
        network = network.with_weights(synapses(network.weights))
        return cls(network=network, neurons=np.arange(len(network)))

    def then(self, name: str, said: str, network: RecurrentNetwork, **changes: object) -> Pruned:
        """After one step more."""
        step = Step(name, len(network), network.weights.nnz, said)
        return replace(self, network=network, steps=(*self.steps, step), **changes)  # type: ignore[arg-type]

    def judged(self, seed: int) -> Pruned:
        """With the stability of what the last step left."""
        found, last = linear_stability(self.network, seed=seed), self.steps[-1]
        said = f"{last.said}; {found}"
        step = replace(last, said=said, reach=found.reach, abscissa=found.abscissa)
        return replace(self, steps=(*self.steps[:-1], step))


def lyapunov_noise_pruning(
    network: RecurrentNetwork,
    config: LNPConfig,
    *,
    seed: int = 0,
    metric: Metric = memory_capacity,
    done: Pruned | None = None,
) -> Iterator[Pruned]:
    """Prune a random recurrent network before any training, a step at a time.

        I      synapses are drawn by survival probabilities, `keep_scores`
        II     neurons of low betweenness go, excitatory and inhibitory in proportion
        III    a few synapses come back where eigenvectors are localised (off by default)
        IV     membrane time constants suit the Lyapunov exponents (off by default)
        gain   one factor on all weights, `calibrate_gain`

    Exactly round((1 − sparsity) E) synapses stay after I and II, and N − round(neurons N) neurons;
    step III adds to them. Neurons with input stay, unless all have it. Step I leaves as many
    synapses as II is expected to take along, (1 − neurons)⁻² times the budget; then they are
    thinned or filled up to it.

    After each step the network is linearised anew, and the step says whether it is stable, near
    instability (`stability.MARGIN`) or unstable. Nothing is changed for it: a gain that memory
    capacity likes best may lie near the edge.

    The four steps, their order and aims are the paper's; every formula is a reconstruction, and the
    gain this library's.

    Args:
        network: W, time constants, inputs; see `RecurrentNetwork`.
        seed: of every random choice: each step draws from a generator of its own.
        metric: of a network, higher is better: what IV and the gain are accepted by.
        done: the last result of an earlier run with the same arguments, to go on from.

    Yields:
        The state after each step; the last one is the result.

    Raises:
        ConfigError: no recurrence; a budget that the neurons which stay can't fill, or that leaves
            no path from the input; a silent network; one without inputs, which memory capacity
            can't judge.

    Source: Chakraborty et al., "Sparse Spiking Neural Network: Exploiting Heterogeneity in
    Timescales for Pruning Recurrent SNN", ICLR 2024.
    """
    start = Pruned.begin(network)
    if not start.network.weights.nnz:
        raise ConfigError("weights: the network has no recurrence, so there is nothing to prune")
    if network.inputs is None and metric is memory_capacity and config.wants_metric:
        raise ConfigError(
            "calibrate: memory capacity decides on the gain and on step IV, and the network has no "
            "inputs to remember; set calibrate='deviation' and retune='off', or give a metric"
        )
    steps = _steps(start, config, metric=metric)
    state = done or start
    for number, step in enumerate(steps):
        if number < len(state.steps):
            continue
        state = step(state, np.random.default_rng([seed, number])).judged(seed)
        yield state


def prune_recurrent(
    network: RecurrentNetwork | nn.Module,
    config: LNPConfig | None = None,
    *,
    seed: int = 0,
    metric: Metric = memory_capacity,
    dt: float = 1e-3,
) -> Pruned:
    """What `lyapunov_noise_pruning` leaves of a network, or of the one that a module is.

    The way to prune an `HRSNN`, whose synapses are sparse: ``HRSNN(prune_recurrent(net).network)``
    has neither the closed synapses nor the removed neurons. The module itself is untouched.

    Args:
        dt: of a module that doesn't know it; see `frameworks.recurrent_network`.

    Raises:
        ConfigError: as there.
    """
    net = network_of(network, to="prune_recurrent", dt=dt)
    if not isinstance(config, LNPConfig | None):
        raise ConfigError(f"config: wanted an LNPConfig, got {config!r}")
    *_, last = lyapunov_noise_pruning(net, config or LNPConfig(), seed=seed, metric=metric)
    return last


Do = Callable[[Pruned, np.random.Generator], Pruned]


def _steps(start: Pruned, config: LNPConfig, *, metric: Metric) -> list[Do]:
    """What there is to do, in order."""
    N, E = len(start.network), start.network.weights.nnz
    last_N, last_E = N - round(config.neurons * N), round((1 - config.sparsity) * E)
    todo: list[Do] = []
    budgets = milestones(E, last_E, config.rounds), milestones(N, last_N, config.rounds)
    for few, small in zip(*budgets, strict=True):
        todo.append(partial(_sparsify, config=config, synapses_left=few, neurons_left=small))
    if config.delocalise != "off":
        todo.append(partial(_delocalise, config=config))
    if config.retune != "off":
        todo.append(partial(_retune, config=config, dense=start.network, metric=metric))
    todo.append(partial(_calibrate, config=config, dense=start.network, metric=metric))
    return todo


def _sparsify(
    state: Pruned,
    generator: np.random.Generator,
    *,
    config: LNPConfig,
    synapses_left: int,
    neurons_left: int,
) -> Pruned:
    """Steps I and II."""
    network = state.network
    N = len(network)
    found = worth(network, config, generator)
    left = draw(
        network,
        found,
        config,
        generator,
        synapses_left=synapses_left,
        neurons_left=neurons_left,
    )
    if config.leak == "matched":
        network = match_leak(network, found.linear, left.growth)
    small = left.of(network)
    said = f"{found.linear}; {found.silent} of {N} neurons answered to nothing"
    if small.weights.nnz < len(small):
        said += f"; fewer synapses than neurons: {_alone(small)} neurons hear no other"
    if fed(small).any() and len(lost := cut_off(small.weights, fed(small))):
        said += f"; no input reaches {len(lost)} of the neurons left"
    name = "I" if neurons_left == N else "I and II"
    return state.then(name, said, small, neurons=state.neurons[left.stay])


def _alone(network: RecurrentNetwork) -> int:
    """How many neurons no other neuron has a synapse to."""
    post, pre = ends(network.weights)
    return len(network) - len(np.unique(post[post != pre]))


def _delocalise(state: Pruned, generator: np.random.Generator, *, config: LNPConfig) -> Pruned:
    network = state.network
    found = delocalise(
        network.weights,
        tau_s=tau_s(network),
        gains=estimate_gains(network, generator=generator).gain,
        generator=generator,
        mode=config.delocalise,
        candidates=config.candidates,
        inhibitory=network.inhibitory,
    )
    said = f"{found.added} of {found.wanted} synapses added"
    if found.before is not None:
        said += f"; N times the inverse participation ratio {found.before:.2f} to {found.after:.2f}"
    return state.then("III", said, network.with_weights(found.weights))


def _retune(
    state: Pruned,
    generator: np.random.Generator,
    *,
    config: LNPConfig,
    dense: RecurrentNetwork,
    metric: Metric,
) -> Pruned:
    found = retune_time_constants(
        state.network,
        dense,
        objective=config.retune,
        evaluations=config.evaluations,
        metric=metric,
        seed=int(generator.integers(2**31)),
    )
    word = "accepted" if found.accepted else "not accepted"
    said = f"{word}: the metric would go from {found.before:.3g} to {found.after:.3g}"
    return state.then("IV", said, found.network)


def _calibrate(
    state: Pruned,
    generator: np.random.Generator,
    *,
    config: LNPConfig,
    dense: RecurrentNetwork,
    metric: Metric,
) -> Pruned:
    found = calibrate_gain(state.network, dense, by=config.calibrate, metric=metric)
    said = f"weights times {found.gain:.3g}"
    if found.tried:
        said += f"; metric {max(found.tried.values()):.3g}"
    return state.then("gain", said, found.network, gain=found.gain)
