"""The steps of the grid with NumPy alone, all samples at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[Any]


def incoming(inputs: sparse.csr_array, drive: Array, x: Array) -> None:
    """Add W_in u to x [C, B, N], in place, of a drive u [C, B, K]."""
    x += (inputs @ drive.reshape(-1, drive.shape[2]).T).T.reshape(x.shape)


def advance(
    starts: Array,
    rows: Array,
    values: Array,
    alpha: Array,
    beta: Array,
    theta: Array,
    subtract: bool,
    hold: int,
    x: Array,
    v: Array,
    i: Array,
    fired: Array,
    held: Array,
    spikes: Array,
    potentials: Array,
    currents: Array,
) -> None:
    """C steps of B samples, in place; arguments as `microglia.simulation.numba.advance`."""
    B, N = v.shape
    lasts = len(spikes) // len(x)
    for t in range(len(spikes)):
        sample, neuron = np.nonzero(fired)
        first, count = starts[neuron], starts[neuron + 1] - starts[neuron]
        # Positions of all synapses that the spikes meet: runs first, first + 1, ... one by one.
        total = int(count.sum())
        synapse = np.arange(total) + np.repeat(first - (np.cumsum(count) - count), count)
        where = np.repeat(sample, count) * N + rows[synapse]
        # bincount adds in the order of the spikes, as the other path does: bit-equal sums.
        i *= alpha
        i += np.bincount(where, weights=values[synapse], minlength=B * N).reshape(B, N)
        free = held == 0
        h = np.where(free, beta * v + (1 - beta) * (i + x[t // lasts]), v)
        np.greater_equal(h, theta, out=fired)
        fired &= free
        v[:] = np.where(fired, h - theta if subtract else 0.0, h)
        held[:] = np.where(fired, hold, held - ~free)
        spikes[t] = fired
        if len(potentials):
            potentials[t] = h
        if len(currents):
            currents[t] = i
