"""A network that values come into, and whose filtered spikes are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.simulation import State, simulate

Array = NDArray[Any]

PIECE = 1 << 22  # neurons times steps times samples of one simulation


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long each value comes in, and how long spikes are remembered, both in seconds."""

    hold: float
    tau: float = 0.04

    def steps(self, network: RecurrentNetwork) -> int:
        """Of the grid for each value."""
        steps = round(self.hold / network.dt)
        if steps < 1 or not self.tau > 0:
            raise ConfigError(
                f"hold, tau: wanted at least a step of {network.dt:g} s, and a time above 0; got "
                f"{self.hold:g} and {self.tau:g}"
            )
        return steps


@dataclass(frozen=True, eq=False)
class Position:
    """Where B samples stand after a value: the network's state, and its filtered spikes [B, N]."""

    state: State
    trace: Array

    @staticmethod
    def rest(B: int, N: int) -> Position:
        return Position(State.rest(B, N), np.zeros((B, N)))

    @staticmethod
    def side_by_side(positions: list[Position]) -> Position:
        """The samples of all of them."""
        parts = [
            np.concatenate([getattr(p.state, name) for p in positions])
            for name in ("v", "i", "fired", "held")
        ]
        return Position(State(*parts), np.concatenate([p.trace for p in positions]))


@dataclass
class Activity:
    """What a network did over all runs of a task; `spikes` are those of each neuron [N]."""

    spikes: Array | int = 0
    synops: int = 0
    steps: int = 0

    def rates(self, network: RecurrentNetwork) -> Array:
        """Of each neuron, in Hz [N]."""
        return np.asarray(self.spikes / (self.steps * network.dt))

    def figures(self, network: RecurrentNetwork) -> dict[str, float]:
        """Mean firing rate in Hz, SynOps a step of the grid, and the part of the neurons that
        fired at all.

        Raises:
            ConfigError: the network was silent or saturated, and nothing can be read from it.
        """
        rate = int(np.sum(self.spikes)) / (len(network) * self.steps * network.dt)
        fastest = 1 / (network.dt * (1 + network.refractory_steps))
        if rate == 0:
            raise ConfigError(
                "the network is silent on this task, so there is nothing to read; raise its "
                "weights, its bias or the scale of the input"
            )
        if rate > 0.9 * fastest:
            raise ConfigError(
                f"the network is saturated on this task: {rate:.0f} spikes a second and neuron of "
                f"at most {fastest:.0f}; lower its weights, its bias or the scale of the input"
            )
        active = float(np.mean(np.asarray(self.spikes) > 0))
        return {"rate": rate, "synops": self.synops / self.steps, "active": active}


def fed(
    network: RecurrentNetwork, channels: int, *, scale: float | None = 1.0, seed: int = 0
) -> RecurrentNetwork:
    """The network with input weights of a task, N(0, scale²), on the neurons that hear the input.

    Drawn in the order of those neurons: two networks with the same of them, pruned or not, get
    the same input. With scale None it keeps its own.

    Raises:
        ConfigError: nothing comes into the network, or its own weights are of other channels.
    """
    if network.inputs is None or not network.inputs.nnz:
        raise ConfigError("inputs: no neuron hears the input; give the network W_in")
    if scale is None:
        if network.inputs.shape[1] != channels:
            raise ConfigError(
                f"inputs: the network hears {network.inputs.shape[1]} channels, the task has "
                f"{channels}"
            )
        return network
    hear = np.flatnonzero(np.asarray(abs(network.inputs).sum(axis=1)).ravel() > 0)
    weights = scale * np.random.default_rng(seed).standard_normal((len(hear), channels))
    rows, columns = np.repeat(hear, channels), np.tile(np.arange(channels), len(hear))
    shape = (len(network), channels)
    return replace(
        network, inputs=sparse.csr_array((weights.ravel(), (rows, columns)), shape=shape)
    )


def present(
    network: RecurrentNetwork,
    values: Array,
    timing: Timing,
    *,
    activity: Activity,
    position: Position | None = None,
) -> tuple[Array, Position]:
    """Filtered spikes at the end of each value, and where the network stands after the last.

    r[t] = e^(−dt/τ) r[t−1] + S[t], each value being held for `timing.hold`.

    Args:
        values: [P, B, K].
        activity: what the network does is added to it.
        position: where to go on from; at rest where it is None.

    Returns:
        r [P, B, N], and the position.
    """
    P, B, _ = values.shape
    N, hold = len(network), timing.steps(network)
    position = position or Position.rest(B, N)
    features = np.empty((P, B, N))
    points = max(1, PIECE // (N * B * hold))
    for p in range(0, P, points):
        some = np.asarray(values[p : p + points], np.float64)
        run = simulate(network, some, hold=hold, state=position.state)
        features[p : p + points] = run.filtered(
            timing.tau, dt=network.dt, every=hold, start=position.trace
        )
        position = Position(run.state, features[p + len(some) - 1])
        activity.spikes = activity.spikes + np.bincount(run.neurons, minlength=N)
        activity.synops += run.synops(network.weights)
        activity.steps += len(some) * hold * B
    return features, position
