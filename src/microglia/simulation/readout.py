"""Linear readouts of filtered spikes, by ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from microglia.errors import ConfigError

Array = NDArray[Any]

PENALTIES = 10.0 ** np.arange(-6, 4)
"""Tried for ρ, as parts of the mean eigenvalue of XᵀX."""


@dataclass(frozen=True, eq=False)
class Readout:
    """y = (x − x̄) W + ȳ; `weights` W [F, K], `center` x̄ [F], `offset` ȳ [K], `penalty` ρ [K]."""

    weights: Array
    center: Array
    offset: Array
    penalty: Array

    def __call__(self, features: Array) -> Array:
        """[..., F] to [..., K]."""
        predicted: Array = (features - self.center) @ self.weights + self.offset
        return predicted


def fit_ridge(
    features: Array, targets: Array, *, held_out: tuple[Array, Array], shared: bool = False
) -> Readout:
    """The readout of least Σ (y − ŷ)² + ρ |W|², with the ρ that errs least on held-out samples.

    Args:
        features: X [n, F].
        targets: Y [n, K].
        held_out: features and targets by which each target's penalty is chosen.
        shared: one penalty for all targets, as for classes.

    Raises:
        ConfigError: shapes that don't fit, no samples, or values that aren't finite.
    """
    X, Y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    held_X, held_Y = (np.asarray(part, np.float64) for part in held_out)
    for name, x, y in (("features", X, Y), ("held_out", held_X, held_Y)):
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
            raise ConfigError(
                f"{name}: wanted [n, F] and targets [n, K], got {x.shape} and {y.shape}"
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ConfigError(f"{name}: wanted finite numbers, got some that aren't")
    center, offset = X.mean(0), Y.mean(0)
    centred = X - center
    level, basis = eigh(centred.T @ centred)  # of one array, so that half of it is computed
    seen = basis.T @ (centred.T @ (Y - offset))
    unit = max(float(level.mean()), np.finfo(np.float64).tiny)
    weights = [basis @ (seen / (level.clip(0) + p * unit)[:, None]) for p in PENALTIES]
    errors = np.stack([((held_X - center) @ W + offset - held_Y) ** 2 for W in weights]).sum(1)
    best = np.full(Y.shape[1], errors.sum(1).argmin()) if shared else errors.argmin(0)
    chosen = np.stack([weights[k][:, target] for target, k in enumerate(best)], axis=1)
    return Readout(chosen, center, offset, PENALTIES[best] * unit)
