"""How the neurons of a linear network vary together under noise, on its synapses alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg, sparse

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import spectral_abscissa
from microglia.lyapunov.extras import extra
from microglia.lyapunov.graph import Array, ends
from microglia.lyapunov.linearisation import Linearisation

Method = Literal["auto", "exact", "series", "probes"]


@dataclass(frozen=True, eq=False)
class Covariance:
    """C of dx/dt = A x + ξ, as far as the synapses ask for it.

    Args:
        variance: C_ii [N], seconds.
        edges: C_ij of each synapse from j to i [E], seconds.
        method: how it was found.
    """

    variance: Array
    edges: Array
    method: str


def covariance(
    linear: Linearisation,
    *,
    method: Method = "auto",
    order: int = 2,
    probes: int = 64,
    generator: np.random.Generator | None = None,
) -> Covariance:
    """C with A C + C Aᵀ = −Id, for white noise ξ of unit strength (σ multiplies C by σ²).

        exact    SciPy's solver (Bartels and Stewart): time N³, memory N²
        series   terms up to `order` of an expansion in the coupling, kept on the synapses
                 (`series_covariance`): near linear in synapses
        probes   noise that is let go (`probed_covariance`): linear in synapses and `probes`
        auto     exact up to 1,500 neurons, and up to 3,000 where max Re λ(c W_eff) is above 0.7;
                 beyond, probes above 0.7 and the series below

    Raises:
        ConfigError: an unknown method, an order below 0, fewer probes than 1, no generator for
            probes.
    """
    if order < 0 or probes < 1:
        raise ConfigError(f"wanted order ≥ 0 and probes ≥ 1, got {order} and {probes}")
    if method == "auto":
        method = _chosen(len(linear.tau_m), linear.scale * linear.abscissa)
    if method == "exact":
        C = exact_covariance(linear.A)
        post, pre = ends(linear.effective)
        return Covariance(C.diagonal().copy(), C[post, pre], "exact")
    if method == "series":
        return series_covariance(linear, order=order)
    if method == "probes":
        if generator is None:
            raise ConfigError("generator: probes are random; give a numpy Generator")
        return probed_covariance(linear, probes=probes, generator=generator)
    raise ConfigError(f"method: 'auto', 'exact', 'series' or 'probes' expected, got {method!r}")


def exact_covariance(A: sparse.csr_array) -> Array:
    """C [N, N] of A C + C Aᵀ = −Id."""
    return np.asarray(linalg.solve_continuous_lyapunov(A.toarray(), -np.eye(A.shape[0])))


def series_covariance(linear: Linearisation, *, order: int) -> Covariance:
    """Σ_k C_k up to k = `order`, with every term on synapses, both ways, and the diagonal alone.

        C_0 = diag(1/2d),   C_{k+1,ij} = (O C_k + C_k Oᵀ)_ij / (d_i + d_j)

    where A = O − diag(d) and d_i is 1/τ_m,i where no synapse leads from i to i. Without the mask
    this is the covariance itself wherever it converges; what the mask leaves out are paths over
    pairs that no synapse joins. (A reconstruction; at max Re λ(W_eff) = 0.5 order 2 ranks synapses
    as the exact C does, to a Spearman coefficient above 0.999.)
    """
    kernels = extra("microglia.lyapunov.kernels", to="the series of the covariance")
    post, pre = ends(linear.effective)
    off, leak = _coupling(linear)
    N = len(leak)
    pattern = _both_ways(linear.effective)
    rows, columns = ends(pattern)
    entry = rows.astype(np.int64) * N + columns
    synapse = np.searchsorted(entry, post.astype(np.int64) * N + pre)
    diagonal = np.searchsorted(entry, np.arange(N, dtype=np.int64) * (N + 1))
    del entry
    mirrored = np.arange(pattern.nnz, dtype=np.int32)
    mirrored = sparse.csr_array((mirrored, columns, pattern.indptr), shape=(N, N)).tocsc().data
    pairs = leak[rows] + leak[columns]

    total = np.zeros(pattern.nnz)
    total[diagonal] = 1 / (2 * leak)
    product = np.zeros(pattern.nnz)
    product[synapse] = off * total[diagonal][pre]
    for k in range(1, order + 1):
        term = (product + product[mirrored]) / pairs
        total += term
        if k < order:
            product = kernels.masked_product(
                linear.effective.indptr, pre, off, pattern.indptr, columns, term
            )
    return Covariance(total[diagonal], total[synapse], f"series of order {order}")


def probed_covariance(
    linear: Linearisation, *, probes: int, generator: np.random.Generator
) -> Covariance:
    """C = ∫ y yᵀ dt, the mean over noise z that is let go at 0: y(t) = exp(A t) z.

    The same z in the network without coupling, y₀ = exp(−d t) z, whose covariance diag(1/2d) is
    known, is taken away from it and put back exactly: that leaves the noise of the difference
    alone. Exponential Runge-Kutta of second order, which no fast leak can upset, with steps of a
    fifth of the mean 1/d, until what is left of y yᵀ is below 1e-3. (A reconstruction.)
    """
    kernels = extra("microglia.lyapunov.kernels", to="probing the covariance")
    post, pre = ends(linear.effective)
    off, leak = _coupling(linear)
    coupling = sparse.csr_array((off, pre, linear.effective.indptr), shape=linear.effective.shape)
    h = float(np.mean(1 / leak)) / 5
    slowest = max(spectral_abscissa(linear.A), float(-leak.min()))
    steps = int(np.ceil(np.log(1e3) / (-2 * slowest) / h))
    x = (leak * h)[:, None]
    decay, once = np.exp(-x), -np.expm1(-x) / leak[:, None]
    twice = (np.exp(-x) - 1 + x) / x / leak[:, None]
    variance, edges = np.zeros(len(leak)), np.zeros(len(pre))
    Y = free = generator.standard_normal((len(leak), probes))
    for step in range(1, steps + 1):
        drive = coupling @ Y
        ahead = decay * Y + once * drive
        Y = ahead + twice * (coupling @ ahead - drive)
        free = decay * free
        # The first point of the trapezium is 0: there both networks are z.
        part = h / probes * (0.5 if step == steps else 1.0)
        variance += part * ((Y**2).sum(1) - (free**2).sum(1))
        kernels.add_products(edges, post, pre, Y, part)
        kernels.add_products(edges, post, pre, free, -part)
    variance += 1 / (2 * leak)
    itself = post == pre
    edges[itself] = variance[post[itself]]
    return Covariance(variance, edges, f"{probes} probes")


def _chosen(N: int, abscissa: float) -> Literal["exact", "series", "probes"]:
    if N <= 1500 or (abscissa > 0.7 and N <= 3000):
        return "exact"
    return "probes" if abscissa > 0.7 else "series"


def _coupling(linear: Linearisation) -> tuple[Array, Array]:
    """The entries of O [E], and d [N]: A = O − diag(d), what leads from i to i being in d_i."""
    post, pre = ends(linear.effective)
    itself = post == pre
    leak = 1 / linear.tau_m
    leak[post[itself]] -= linear.entries[itself]
    return np.where(itself, 0.0, linear.entries), leak


def _both_ways(weights: sparse.csr_array) -> sparse.csr_array:
    """Ones on synapses, on their mirror images, and on the diagonal."""
    ones = np.ones(weights.nnz, dtype=np.float32)
    one = sparse.csr_array((ones, weights.indices, weights.indptr), shape=weights.shape)
    both = (one + one.T + sparse.eye_array(weights.shape[0], dtype=np.float32)).tocsr()
    both.sort_indices()
    return both
