"""A recurrent network in continuous time, event by event, with perturbations of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array, RecurrentNetwork
from microglia.lyapunov.drive import currents, fastest_rate
from microglia.lyapunov.streams import stream


class ExactFlow:
    """The network of `RecurrentNetwork`'s differential equations, spikes at their exact times.

    The input is held for a step of the grid; nothing else knows of the grid. Without synaptic time
    constants a spike lifts V_i by (1 − β_i) w_ij at once, as much as it does on the grid; neurons
    that it lifts over their thresholds fire at the same instant.

    `V`, `I` [N] are the state and `tangent` [N S, k] its perturbations: those of V, of I and, where
    there is a refractory time, of the moments at which refractory neurons fired, neuron by neuron.

    Raises:
        ConfigError: Numba isn't installed; `advance`: more spikes than a network can have.
    """

    def __init__(self, network: RecurrentNetwork, *, drive: Array | None = None, seed: int = 0):
        self._kernels = _kernels()
        N = len(network)
        jumps = network.tau_s is None
        out = network.weights.tocsc()
        weight = out.data.astype(float)
        if jumps:
            weight *= -np.expm1(-network.dt / network.tau_m)[out.indices]
        self._synapses = out.indptr.astype(np.int64), out.indices.astype(np.int64), weight
        neurons = np.zeros(N, self._kernels.NEURON)
        neurons["leak"] = 1 / network.tau_m
        neurons["decay"] = 0.0 if network.tau_s is None else 1 / network.tau_s
        neurons["threshold"] = network.threshold
        neurons["V"] = stream(seed, "state").uniform(0, neurons["threshold"])
        neurons["release"] = -1.0
        self._neurons, self.V, self.I = neurons, neurons["V"], neurons["I"]
        self.network, self.drive, self.dt = network, drive, network.dt
        self.steps = self.spikes = 0
        self.dimension = N if jumps else 2 * N
        self._slots = 1 + (not jumps) + (network.refractory > 0)
        self.tangent = np.zeros((N * self._slots, 0))

    def directions(self, k: int, rng: np.random.Generator) -> Array:
        """k random perturbations, as columns; those of the first k' < k are the same k'."""
        N, slots = len(self.network), self._slots
        Z = rng.standard_normal((k, N, slots)).transpose(1, 2, 0).copy()
        self._only_alive(Z)
        return Z.reshape(N * slots, k)

    def _only_alive(self, Z: Array) -> None:
        """Clear what doesn't exist of Z [N, slots, k]: the potential of a refractory neuron and
        the clock of another.

        Rounding fills these, as when perturbations are made orthonormal; a silent neuron's clock
        never decays, and in time would be taken for a direction of its own.
        """
        if self.network.refractory > 0:
            refractory = self._neurons["release"] >= 0
            Z[refractory, 0] = 0
            Z[~refractory, -1] = 0

    def advance(self, steps: int) -> None:
        """`steps` steps of the grid, moving the state and `tangent` in place."""
        N, k = len(self.network), self.tangent.shape[1]
        Z = np.ascontiguousarray(self.tangent).reshape(N, self._slots, k)
        self._only_alive(Z)
        fastest = fastest_rate(self.network)
        limit = int(N * (steps * self.dt * fastest + 2))
        spikes = self._kernels.advance(
            self._neurons,
            *self._synapses,
            float(self.network.refractory),
            self.network.reset == "subtract",
            Z,
            currents(self.network, self.drive, self.steps, self.steps + steps),
            float(self.dt),
            limit,
        )
        self.steps += steps
        self.spikes += spikes
        if spikes > limit:
            raise ConfigError(
                f"the network is saturated: it fires more than {fastest:g} times a second and "
                "neuron, and its exponents are undefined; lower the weights or the bias, or give "
                "it a refractory time"
            )
        self.tangent = Z.reshape(N * self._slots, k)


def _kernels() -> Any:
    """Raises ConfigError where Numba isn't installed."""
    try:
        from microglia.lyapunov import events
    except ModuleNotFoundError as missing:
        raise ConfigError(
            "Spike-exact exponents need Numba, which is not installed. "
            "Run: pip install 'microglia[lyapunov]'"
        ) from missing
    return events
