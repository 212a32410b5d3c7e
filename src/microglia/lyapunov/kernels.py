"""Sums over the synapses of a graph, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from microglia.lyapunov.graph import Array


@njit(cache=True)
def masked_product(
    starts: Array, columns: Array, values: Array, c_starts: Array, c_columns: Array, C: Array
) -> Array:
    """(O C)_ij where C has entries, and nowhere else; O and C in CSR form.

    Costs a step for each path i ← m ← j, whether or not C has the entry (i, j).
    """
    N = len(starts) - 1
    product = np.zeros(len(C))
    place = np.full(N, -1, np.int32)
    for i in range(N):
        for p in range(c_starts[i], c_starts[i + 1]):
            place[c_columns[p]] = p
        for e in range(starts[i], starts[i + 1]):
            m, o = columns[e], values[e]
            for q in range(c_starts[m], c_starts[m + 1]):
                p = place[c_columns[q]]
                if p >= 0:
                    product[p] += o * C[q]
        for p in range(c_starts[i], c_starts[i + 1]):
            place[c_columns[p]] = -1
    return product


@njit(cache=True)
def add_products(sums: Array, post: Array, pre: Array, Y: Array, weight: float) -> None:
    """sums_e += weight Σ_z Y[post_e, z] Y[pre_e, z]."""
    for e in range(len(sums)):
        i, j = post[e], pre[e]
        total = 0.0
        for z in range(Y.shape[1]):
            total += Y[i, z] * Y[j, z]
        sums[e] += weight * total
