"""What a simulation leaves: spikes as events, and the state to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from microglia.errors import ConfigError, is_number, is_whole

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class State:
    """Where B samples of a network stand after a step; the next step follows from it alone.

    `v` and `i` are V and I [B, N], `fired` is S of the last step [B, N], and `held` for how many
    steps more a neuron is refractory [B, N].
    """

    v: Array
    i: Array
    fired: Array
    held: Array

    @staticmethod
    def rest(B: int, N: int) -> State:
        """All at rest: V = I = S = 0."""
        zeros = np.zeros((B, N))
        return State(zeros, zeros.copy(), zeros.astype(bool), zeros.astype(np.int64))

    def copy(self) -> State:
        return State(self.v.copy(), self.i.copy(), self.fired.copy(), self.held.copy())


@dataclass(frozen=True, eq=False, kw_only=True)
class Simulation:
    """T steps of B samples of a network of N neurons.

    Attributes:
        steps, samples, neurons: spike k is neuron `neurons[k]` of sample `samples[k]` at step
            `steps[k]`; sorted in this order.
        shape: (T, B, N).
        batched: whether the drive had a batch axis; the arrays below lack it where it hadn't.
        potentials: H, before reset, if it was recorded [T, (B,) N]; that of a refractory neuron is
            the V at which it is held.
        currents: I, if it was recorded [T, (B,) N].
        state: the state after the last step.
    """

    steps: Array
    samples: Array
    neurons: Array
    shape: tuple[int, int, int]
    batched: bool
    potentials: Array | None
    currents: Array | None
    state: State

    def raster(self) -> Array:
        """Spikes as booleans [T, (B,) N]."""
        spikes = np.zeros(self.shape, dtype=bool)
        spikes[self.steps, self.samples, self.neurons] = True
        return spikes if self.batched else spikes[:, 0]

    def counts(self) -> Array:
        """Spikes of each neuron [(B,) N]."""
        _, B, N = self.shape
        counts = np.bincount(self.samples * N + self.neurons, minlength=B * N).reshape(B, N)
        return counts if self.batched else counts[0]

    def filtered(
        self, tau: float, *, dt: float, every: int = 1, start: Array | None = None
    ) -> Array:
        """Spikes through an exponential filter, r[t] = e^(−dt/τ) r[t−1] + S[t] [T, (B,) N].

        Of every `every`-th step alone, the last one of each run: [T // every, (B,) N]. `tau` and
        `dt` are in seconds; `start` is r[−1] [(B,) N], 0 where it is None.

        Raises:
            ConfigError: a time that isn't above 0, or `every` that isn't a whole number from 1 on.
        """
        if not (is_number(tau) and is_number(dt) and 0 < tau < np.inf and 0 < dt < np.inf):
            raise ConfigError(f"tau, dt: finite times above 0 expected, got {tau!r} and {dt!r}")
        if not is_whole(every) or every < 1:
            raise ConfigError(f"every: a whole number from 1 on expected, got {every!r}")
        T, B, N = self.shape
        kept = float(np.exp(-dt / tau))
        begins = np.searchsorted(self.steps, np.arange(0, T + 1, every))
        where = self.samples * N + self.neurons
        left = kept ** (every - 1 - self.steps % every)  # of each spike at the end of its run
        trace = np.zeros(B * N) if start is None else np.array(start, np.float64).ravel()
        traces = np.empty((T // every, B * N))
        for run, (first, end) in enumerate(pairwise(begins)):
            now = slice(first, end)
            trace = kept**every * trace + np.bincount(where[now], left[now], minlength=B * N)
            traces[run] = trace
        whole = traces.reshape(-1, B, N)
        return whole if self.batched else whole[:, 0]

    def synops(self, weights: sparse.csr_array) -> int:
        """How often a spike met a synapse of `weights` [N, N] that isn't zero."""
        out = np.bincount(weights.indices[weights.data != 0], minlength=self.shape[2])
        return int(out[self.neurons].sum())
