"""Step III: a few synapses more, so that no leading eigenvector sits on few neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import DENSE, spectral_abscissa, start
from microglia.lyapunov.controls import like_survivors
from microglia.lyapunov.graph import (
    Array,
    ends,
    for_each_neuron,
    positive_for_each,
    same_synapses,
    synapses,
)

Mode = Literal["off", "repair", "always"]
Candidates = Literal["two-paths", "heterogeneity"]


@dataclass(frozen=True, eq=False)
class Delocalised:
    """The weights, how many synapses were added of how many `wanted`, and N times the mean inverse
    participation ratio of the leading eigenvectors before and after; None where it wasn't needed.
    """

    weights: sparse.csr_array
    added: int
    wanted: int
    before: float | None
    after: float | None


def delocalise(
    weights: Any,
    *,
    tau_s: Any,
    gains: Any,
    generator: np.random.Generator,
    mode: Mode = "off",
    fraction: float = 0.05,
    candidates: Candidates = "two-paths",
    inhibitory: Array | None = None,
    leading: int = 20,
    localised: float = 6.0,
    batches: int = 32,
) -> Delocalised:
    """Adds up to `fraction` · E synapses from j to i where a path j → k → i is and no synapse.

    In batches of a 32nd, each drawn once: it stays if the mean inverse participation ratio of the
    `leading` eigenvectors of W_eff,ij = w_ij τ_s,i g_j does not rise and max Re λ(W_eff) is at most
    0.9 or what it was. New weights are drawn from those of the same presynaptic type.

        off      nothing
        repair   only where N times that mean is above `localised`: spread eigenvectors have 2 to 3
        always

    Candidates "two-paths" are drawn evenly from such paths; "heterogeneity" takes of eight times as
    many those that most raise Σ_{j∈N(i)} (k_i − k_j)², k counting inputs and outputs.

    That edges are added to keep eigenvectors delocalised is the paper's; a reviewer of it writes
    that they maximise the heterogeneity of degrees in local neighbourhoods, which was measured to
    localise. Measure, acceptance and modes are reconstructions; neither candidates helped a task.

    Raises:
        ConfigError: an unknown mode or candidates, a fraction outside [0, 1], no batch.
    """
    W = synapses(weights)
    N = W.shape[0]
    if mode not in ("off", "repair", "always") or candidates not in ("two-paths", "heterogeneity"):
        raise ConfigError(f"delocalise: unknown mode {mode!r} or candidates {candidates!r}")
    if not 0 <= fraction <= 1 or batches < 1 or leading < 1:
        raise ConfigError(
            "delocalise: wanted fraction in [0, 1], batches and leading at least 1, "
            f"got {fraction}, {batches}, {leading}"
        )
    factor = positive_for_each("tau_s", tau_s, N)
    gains = for_each_neuron("gains", gains, N, least=0.0)
    wanted = round(fraction * W.nnz)
    if mode == "off" or not wanted:
        return Delocalised(W, 0, wanted, None, None)

    def effective(of: sparse.csr_array) -> sparse.csr_array:
        post, pre = ends(of)
        return same_synapses(of, of.data * factor[post] * gains[pre])

    before = ipr = leading_ipr(effective(W), count=leading)
    if mode == "repair" and N * before <= localised:
        return Delocalised(W, 0, wanted, N * before, N * before)
    highest = max(spectral_abscissa(effective(W)), 0.9)
    added = 0
    for size in np.diff(np.linspace(0, wanted, batches + 1).round().astype(int)):
        post, pre = _two_paths(W, int(size), candidates, generator)
        values = like_survivors(W, pre, generator, inhibitory=inhibitory)
        more = synapses(W + sparse.csr_array((values, (post, pre)), shape=(N, N)))
        new = leading_ipr(effective(more), count=leading)
        if new <= ipr and spectral_abscissa(effective(more)) <= highest:
            W, ipr, added = more, new, added + len(post)
    return Delocalised(W, added, wanted, N * before, N * ipr)


def participation(vectors: Array) -> Array:
    """Inverse participation ratio Σ_i |v_i|⁴ / (Σ_i |v_i|²)² of each column of [N, K]: 1/N for a
    vector spread evenly, 1 for one neuron."""
    weight = np.abs(vectors) ** 2
    return np.asarray((weight**2).sum(0) / weight.sum(0) ** 2)


def leading_ipr(effective: sparse.csr_array, *, count: int = 20) -> float:
    """The mean inverse participation ratio of the eigenvectors of the `count` largest |λ|.

    Vectors to 1e-3 beyond 500 neurons. A network without recurrence has none to speak of: 0.
    """
    N = effective.shape[0]
    components, _ = csgraph.connected_components(effective, directed=True, connection="strong")
    if components == N and not effective.diagonal().any():
        return 0.0
    if N <= DENSE:
        values, vectors = np.linalg.eig(effective.toarray())
        vectors = vectors[:, np.argsort(-np.abs(values), kind="stable")[:count]]
        return float(participation(vectors).mean())
    try:
        _, vectors = eigs(effective, k=min(count, N - 2), which="LM", tol=1e-3, v0=start(N))
    except ArpackNoConvergence as error:
        vectors = error.eigenvectors
    return float(participation(vectors).mean()) if vectors.size else 0.0


def _two_paths(
    W: sparse.csr_array, count: int, candidates: Candidates, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Up to `count` pairs (i, j), different ones, two synapses apart and none, from j to i."""
    N = W.shape[0]
    post, pre = ends(W)
    outgoing = W.tocsc()
    there = post.astype(np.int64) * N + pre
    draws = count * (8 if candidates == "heterogeneity" else 1)
    found = np.empty(0, dtype=np.int64)
    for _ in range(8):
        first = generator.integers(W.nnz, size=2 * draws)
        j, k = pre[first], post[first]
        choices = np.diff(outgoing.indptr)[k]
        j, k, choices = j[choices > 0], k[choices > 0], choices[choices > 0]
        i = outgoing.indices[outgoing.indptr[k] + generator.integers(choices)]
        pair = i[i != j].astype(np.int64) * N + j[i != j]
        found = np.union1d(found, pair[~np.isin(pair, there)])
        if len(found) >= draws:
            break
    found = generator.permutation(found)[:draws]
    i, j = np.divmod(found, N)
    if candidates == "heterogeneity" and len(found):
        first = np.argsort(-_heterogeneity_gain(W, i, j), kind="stable")[:count]
        i, j = i[first], j[first]
    return i, j


def _heterogeneity_gain(W: sparse.csr_array, i: Array, j: Array) -> Array:
    """How much a synapse between i and j raises Σ over joined pairs of (k_i − k_j)²."""
    ones = same_synapses(W, np.ones(W.nnz))
    joined = (ones + ones.T).tocsr()
    k = joined @ np.ones(W.shape[0])
    # One more for k_i raises (k_i − k_n)² by 2 (k_i − k_n) + 1 for each neighbour n.
    around = 2 * (k**2 - joined @ k) + k
    raised = around[i] + around[j] + (k[i] - k[j]) ** 2
    # Where one leads back, both of its ends get the synapse, and their difference stays.
    post, pre = ends(W)
    back = np.isin(j.astype(np.int64) * len(k) + i, post.astype(np.int64) * len(k) + pre)
    return np.asarray(raised - 2 * back)
