"""Step I: how much is each synapse worth keeping?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from microglia.errors import ConfigError, nearest
from microglia.lyapunov.covariance import Covariance, covariance
from microglia.lyapunov.graph import Array, ends, positive_for_each, same_synapses, synapses
from microglia.lyapunov.linearisation import Linearisation, linearise

Reading = Literal["R2w", "R2-ends", "R2-neighbourhoods", "R1", "MC", "weight"]
Neurons = Literal["ends", "neighbourhoods"]


def keep_scores(
    weights: Any,
    linear: Linearisation,
    rates: Any = None,
    *,
    reading: Reading = "R2w",
    eta: float = 1.0,
    covariance_of: Callable[[Linearisation], Covariance] = covariance,
) -> Array:
    """What each synapse's survival probability is in proportion to, s ≥ 0 [E].

    With R_ij = C_ii + C_jj − 2 sgn(w_ij) C_ij, which is noise pruning's (Moore and Chaudhuri,
    2020, with |A_ij| before it), and L_ij a harmonic mean of Lyapunov rates (`harmonic_means`):

        R2w                 |w_ij| R_ij / L_ij^η,  L over the two ends
        R2-ends             |A_ij| R_ij / L_ij^η,  L over the two ends
        R2-neighbourhoods   |A_ij| R_ij / L_ij^η,  L over both neighbourhoods
        R1                  |A'_ij| R'_ij, where L (neighbourhoods) stands in W's place
        MC                  |A_ij| R_ij, plain noise pruning
        weight              |w_ij|

    The paper's (Chakraborty et al., ICLR 2024) are the harmonic mean of the neighbours' Lyapunov
    exponents, placed in a Lyapunov matrix, and a survival probability for each synapse; how they
    meet is not known, so every reading is a reconstruction. R2w is this library's choice: the only
    one that beat random pruning when measured. η = 1 protects synapses between neurons that let
    perturbations grow little, η = −1 the others, and 0 leaves L out.

    Synapses of neurons whose gain is 0 come after all others, in order of |w|. The scores have no
    unit; `water_filling` makes probabilities of them.

    Args:
        weights: W [N, N], from j to i.
        linear: `linearise` of the same weights.
        rates: a positive growth rate of each neuron [N], as exp((Λ_i − mean Λ) T); for all
            readings but MC and weight.
        covariance_of: how C is found, where the reading asks for it.

    Raises:
        ConfigError: an unknown reading, rates that are missing or not positive, other weights
            than those that were linearised.
    """
    W = synapses(weights)
    if reading not in get_args(Reading):
        raise ConfigError(f"reading: '{reading}'?{nearest(reading, list(get_args(Reading)))}")
    of = linear.effective
    if not (np.array_equal(W.indices, of.indices) and np.array_equal(W.indptr, of.indptr)):
        raise ConfigError("linear: wanted the linearisation of these weights, got another's")
    size: Array = np.abs(W.data)
    if reading == "weight":
        return size
    if reading == "MC":
        scores = np.abs(linear.entries) * _resistance(linear, covariance_of(linear))
        return _silent_last(scores, size, linear)
    if rates is None:
        raise ConfigError(f"rates: reading '{reading}' wants a positive rate for each neuron")
    over: Neurons = "ends" if reading in ("R2w", "R2-ends") else "neighbourhoods"
    L = harmonic_means(W, rates, over=over)
    if reading == "R1":
        replaced = same_synapses(W, np.sign(W.data) * L)
        other = linearise(replaced, linear.tau_m, tau_s=1.0, gains=1.0)
        return np.asarray(np.abs(other.entries) * _resistance(other, covariance_of(other)))
    prefactor = size if reading == "R2w" else np.abs(linear.entries)
    scores = prefactor * _resistance(linear, covariance_of(linear)) / L**eta
    return _silent_last(scores, size, linear)


def harmonic_means(weights: Any, rates: Any, *, over: Neurons = "ends") -> Array:
    """L_ij, the harmonic mean of the rates of the neurons around each synapse [E].

        ends             2 / (1/r_i + 1/r_j)
        neighbourhoods   (n_i + n_j) / (Σ_{k∈N(i)} 1/r_k + Σ_{k∈N(j)} 1/r_k)

    N(i) are the n_i neurons that i has a synapse from or to, itself left out; a neuron in both
    neighbourhoods counts twice. The harmonic mean over neighbours is the paper's. Reconstructed:
    that rates are made positive first, for a harmonic mean over both signs has poles; that L has
    no sign; and the mean over the ends alone, because over neighbourhoods it hardly varies.
    """
    W = synapses(weights)
    N = W.shape[0]
    slowness = 1 / positive_for_each("rates", rates, N)
    post, pre = ends(W)
    if over == "ends":
        return np.asarray(2 / (slowness[post] + slowness[pre]))
    if over != "neighbourhoods":
        raise ConfigError(f"over: 'ends' or 'neighbourhoods' expected, got {over!r}")
    links = same_synapses(W, (post != pre).astype(np.float64))
    joined = (links + links.T).tocsr()
    joined.data = np.minimum(joined.data, 1.0)
    n, sums = joined @ np.ones(N), joined @ slowness
    # A neuron that is joined to itself alone is its own neighbourhood.
    alone = n == 0
    n, sums = n + alone, sums + alone * slowness
    return np.asarray((n[post] + n[pre]) / (sums[post] + sums[pre]))


def _resistance(linear: Linearisation, C: Covariance) -> Array:
    """R_ij [E], the signed effective resistance of a symmetric network."""
    post, pre = ends(linear.effective)
    R = C.variance[post] + C.variance[pre] - 2 * np.sign(linear.effective.data) * C.edges
    # Never negative for a covariance; an approximate one may be off.
    return np.asarray(np.maximum(R, 0.0))


def _silent_last(scores: Array, size: Array, linear: Linearisation) -> Array:
    """The scores, and where the presynaptic neuron answers to nothing a billionth of |w|."""
    live = linear.effective.data != 0
    unit = scores[live].mean() / size[live].mean() if live.any() else 1.0
    return np.asarray(np.where(live, scores, 1e-9 * unit * size))
