"""A recurrent network on its grid, and perturbations of it by surrogate derivatives."""

from __future__ import annotations

import numpy as np

from microglia.frameworks.recurrent import Array, RecurrentNetwork
from microglia.lyapunov.drive import currents
from microglia.lyapunov.streams import stream


class GridFlow:
    """The network of `RecurrentNetwork`'s difference equations, with hard spikes.

    In its Jacobian the step S = 1[H ≥ θ] has the derivative g' = 1 / (1 + γ |H − θ|)², and reset
    and refractory times are left out:

        δI[t] = α δI[t−1] + W g' δH[t−1],   δH[t] = β δH[t−1] + (1 − β) δI[t]

    `H` [N] is the potential before reset; the rows of `tangent` [2N, k] are δH, then δI ([N, k],
    δH alone, without synaptic time constants).

    Source: Engelken, SurrogateGradientFlossing (2023), for equal time constants.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        *,
        drive: Array | None = None,
        gamma: float = 5.0,
        seed: int = 0,
    ):
        N = len(network)
        self.network, self.drive, self.gamma, self.dt = network, drive, gamma, network.dt
        self.theta = np.asarray(network.threshold, float)
        self.beta = np.exp(-network.dt / network.tau_m)
        self.alpha = np.zeros(N) if network.tau_s is None else np.exp(-network.dt / network.tau_s)
        self.H = self.V = stream(seed, "state").uniform(0, self.theta)
        self.I, self.S, self._rest = np.zeros(N), np.zeros(N), np.zeros(N, int)
        self._pause = round(network.refractory / network.dt)
        self.steps = self.spikes = 0
        self.dimension = N if network.tau_s is None else 2 * N
        self.tangent = np.zeros((self.dimension, 0))

    def directions(self, k: int, rng: np.random.Generator) -> Array:
        """k random perturbations, as columns; those of the first k' < k are the same k'."""
        return rng.standard_normal((k, self.dimension)).T.copy()

    def slope(self) -> Array:
        """The surrogate derivative g' of each neuron, [N]."""
        return np.asarray(1 / (1 + self.gamma * np.abs(self.H - self.theta)) ** 2)

    def advance(self, steps: int) -> None:
        """`steps` steps of the grid, of the state and of `tangent`."""
        for drive in currents(self.network, self.drive, self.steps, self.steps + steps):
            if self.tangent.shape[1]:
                self._advance_tangent()
            self._advance_state(drive)
        self.steps += steps

    def _advance_state(self, drive: Array) -> None:
        self.I = self.alpha * self.I + self.network.weights @ self.S
        free = self._rest == 0
        H = self.beta * self.V + (1 - self.beta) * (self.I + drive)
        self.H = np.where(free, H, self.V)
        fired = free & (self.theta <= self.H)
        reset = self.H - self.theta if self.network.reset == "subtract" else 0.0
        self.V = np.where(fired, reset, self.H)
        self._rest = np.where(fired, self._pause, np.maximum(self._rest - 1, 0))
        self.S = fired.astype(float)
        self.spikes += int(fired.sum())

    def _advance_tangent(self) -> None:
        N, beta = len(self.network), self.beta[:, None]
        dH, dI = self.tangent[:N], self.tangent[N:]
        arriving = self.network.weights @ (self.slope()[:, None] * dH)
        if len(dI):
            arriving += self.alpha[:, None] * dI
        dH = beta * dH + (1 - beta) * arriving
        self.tangent = np.concatenate([dH, arriving]) if len(dI) else dH
