"""A recurrent network as a graph: one synapse for each stored weight w_ij, from j to i."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from microglia.errors import ConfigError

Array = NDArray[Any]


def synapses(weights: Any) -> sparse.csr_array:
    """W with each synapse once, rows sorted, zeros left out, in float64: a copy.

    Every array of one value for each synapse, [E], is in the order of its `data`.

    Raises:
        ConfigError: a matrix that isn't square, or holds what isn't finite.
    """
    W = sparse.csr_array(weights, dtype=np.float64, copy=True)
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise ConfigError(f"weights: wanted a square matrix [N, N], got {W.shape}")
    W.sum_duplicates()
    W.eliminate_zeros()
    if not np.isfinite(W.data).all():
        raise ConfigError("weights: wanted finite numbers, got some that aren't")
    return W


def ends(weights: sparse.csr_array) -> tuple[Array, Array]:
    """The neuron that each synapse leads to, and the one it comes from: two times [E]."""
    post = np.repeat(np.arange(weights.shape[0], dtype=np.int32), np.diff(weights.indptr))
    return post, weights.indices


def same_synapses(weights: sparse.csr_array, values: Array) -> sparse.csr_array:
    """Other values [E] on the same synapses; zeros stay stored."""
    return sparse.csr_array((values, weights.indices, weights.indptr), shape=weights.shape)


def thin(weights: sparse.csr_array, kept: Array) -> sparse.csr_array:
    """The synapses that are `kept`, boolean [E], between the same neurons."""
    before = np.concatenate([[0], np.cumsum(kept)])
    parts = (weights.data[kept], weights.indices[kept], before[weights.indptr])
    return sparse.csr_array(parts, shape=weights.shape)


def for_each_neuron(name: str, values: Any, N: int, *, least: float | None = None) -> Array:
    """`values` as float64 [N], or a single one for all; finite, and at least `least`."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (N,)):
        raise ConfigError(f"{name}: wanted a value for each of {N} neurons, got {array.shape}")
    if not np.isfinite(array).all():
        raise ConfigError(f"{name}: wanted finite numbers, got some that aren't")
    if least is not None and (array < least).any():
        raise ConfigError(f"{name}: wanted at least {least}, got {array.min()}")
    return np.broadcast_to(array, (N,))


def positive_for_each(name: str, values: Any, N: int) -> Array:
    """`values` as float64 [N], all above 0."""
    array = for_each_neuron(name, values, N)
    if not (array > 0).all():
        raise ConfigError(f"{name}: wanted positive numbers, got {array.min()}")
    return array
