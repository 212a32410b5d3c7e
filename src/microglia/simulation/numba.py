"""The steps of the grid, compiled: one sample after the other, so that its state stays in cache."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[Any]


def incoming(inputs: sparse.csr_array, drive: Array, x: Array) -> None:
    """Add W_in u to x [C, B, N], in place, of a drive u [C, B, K]."""
    hear = np.flatnonzero(np.diff(inputs.indptr))
    _add_incoming(hear, inputs.indptr, inputs.indices, inputs.data.astype(np.float64), drive, x)


def _incoming(
    hear: Array, starts: Array, columns: Array, values: Array, drive: Array, x: Array
) -> None:
    for c in range(x.shape[0]):
        for b in range(x.shape[1]):
            for n in hear:
                total = 0.0
                for k in range(starts[n], starts[n + 1]):
                    total += values[k] * drive[c, b, columns[k]]
                x[c, b, n] += total


def _advance(
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
    """C steps of B samples, in place.

    Args:
        starts, rows, values: W as CSC; the synapses out of neuron j begin at starts[j].
        alpha, beta, theta: [N].
        subtract: how neurons reset; `hold` is their refractory time in steps.
        x: b + W_in u + noise [C, B, N], or [C / r, B, N] where each value lasts for r steps.
        v, i, fired, held: the state [B, N].
        spikes: written [C, B, N]; `potentials` and `currents` too, unless they are empty.
    """
    B, N = v.shape
    lasts = spikes.shape[0] // x.shape[0]
    arrived, sources = np.zeros(N), np.empty(N, np.int64)
    for b in range(B):
        count = 0
        for n in range(N):
            if fired[b, n]:
                sources[count] = n
                count += 1
        for t in range(spikes.shape[0]):
            coming = x[t // lasts, b]
            for source in sources[:count]:
                for k in range(starts[source], starts[source + 1]):
                    arrived[rows[k]] += values[k]
            count = 0
            for n in range(N):
                current = i[b, n] * alpha[n] + arrived[n]
                i[b, n], arrived[n] = current, 0.0
                h, spike = v[b, n], False
                if held[b, n] > 0:
                    held[b, n] -= 1
                else:
                    h = beta[n] * h + (1.0 - beta[n]) * (current + coming[n])
                    spike = h >= theta[n]
                if spike:
                    v[b, n] = h - theta[n] if subtract else 0.0
                    held[b, n] = hold
                    sources[count] = n
                    count += 1
                else:
                    v[b, n] = h
                spikes[t, b, n] = spike
                if len(potentials):
                    potentials[t, b, n] = h
                if len(currents):
                    currents[t, b, n] = current
        for n in range(N):
            fired[b, n] = False
        for source in sources[:count]:
            fired[b, source] = True


_add_incoming = numba.njit(cache=True)(_incoming)
advance = numba.njit(cache=True)(_advance)
