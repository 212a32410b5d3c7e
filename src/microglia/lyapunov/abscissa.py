"""How far right do the eigenvalues of a sparse matrix reach?"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigs, eigsh

from microglia.lyapunov.graph import Array

DENSE = 500


def spectral_abscissa(matrix: sparse.csr_array) -> float:
    """max Re λ, of each strongly connected component by itself, whose eigenvalues are the matrix's.

    Dense up to 500 neurons, ARPACK's rightmost six beyond, asked for to a hundredth. Where ARPACK
    does not converge the `numerical_abscissa` stands for it, which is never smaller.
    """
    graph = matrix.copy()
    graph.eliminate_zeros()
    count, label = csgraph.connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(label)
    alone = matrix.diagonal()[sizes[label] == 1]
    found = float(alone.max(initial=-np.inf))
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(sizes)[:-1])
    for neurons in members:
        if len(neurons) > 1:
            block = graph if count == 1 else graph[neurons][:, neurons]
            found = max(found, _rightmost(block))
    return found


def numerical_abscissa(matrix: sparse.csr_array) -> float:
    """The largest eigenvalue of (M + Mᵀ)/2, which no eigenvalue of M lies right of."""
    symmetric = ((matrix + matrix.T) / 2).tocsr()
    if symmetric.shape[0] <= DENSE:
        return float(np.linalg.eigvalsh(symmetric.toarray())[-1])
    if not symmetric.nnz:
        return 0.0
    v0 = start(symmetric.shape[0])
    largest = eigsh(symmetric, k=1, which="LA", tol=1e-4, v0=v0, return_eigenvectors=False)
    return float(largest[0])


def start(N: int) -> Array:
    """ARPACK's first vector, the same each time."""
    return np.random.default_rng(0).standard_normal(N)


def _rightmost(block: sparse.csr_array) -> float:
    N = block.shape[0]
    if N <= DENSE:
        return float(np.linalg.eigvals(block.toarray()).real.max())
    for ncv in (40, 120):
        try:
            values = eigs(
                block, k=6, which="LR", ncv=ncv, tol=1e-2, v0=start(N), return_eigenvectors=False
            )
            return float(values.real.max())
        except ArpackNoConvergence as error:
            # Which of the rightmost are among those that did converge can't be known.
            if len(error.eigenvalues) >= 3:
                return float(error.eigenvalues.real.max())
        except ArpackError:
            break
    return numerical_abscissa(block)
