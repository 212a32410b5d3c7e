"""How far forecasts are from what came."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.errors import DataError

Array = NDArray[Any]


def nrmse(predicted: Array, truth: Array) -> float:
    """Root mean squared error, in standard deviations of the truth.

        NRMSE = √( mean_v  mean_t (p_tv − x_tv)² / var_t x_tv )

    0 of the truth itself, 1 of its mean. Both [T, V].

    Raises:
        DataError: shapes that don't fit, fewer than two points, a variable that is constant, or a
            value that is no number.
    """
    p, x = (np.asarray(values, np.float64) for values in (predicted, truth))
    if p.shape != x.shape or x.ndim != 2 or len(x) < 2:
        raise DataError(f"nrmse: wanted two times [T, V] with T of 2 or more: {p.shape}, {x.shape}")
    if not (np.isfinite(p).all() and np.isfinite(x).all()):
        raise DataError("nrmse: a value that was predicted, or came, is no number")
    variance = x.var(0)
    if not (variance > 0).all():
        raise DataError(
            f"nrmse: variable {int((variance == 0).argmax())} is constant, so that no error can be "
            "told in its deviations; leave it out"
        )
    return float(np.sqrt((((p - x) ** 2).mean(0) / variance).mean()))


def errors(predicted: Array, truth: Array, deviation: Array) -> Array:
    """√ mean_v ((p − x) / σ_v)² of [..., V]; infinite where a prediction is no number."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.sqrt((((predicted - truth) / deviation) ** 2).mean(-1))
    return np.where(np.isfinite(error), error, np.inf)


def valid_steps(
    predicted: Array, truth: Array, *, deviation: Array, threshold: float = 0.4
) -> Array:
    """For how many steps each free-running forecast holds: until its error first exceeds θ [B].

    Args:
        predicted, truth: [T, B, V].
        deviation: σ of each variable [V], of the training part.
        threshold: θ, of `errors`.

    Raises:
        DataError: shapes that don't fit, no steps, or a deviation that isn't positive.
    """
    if np.shape(predicted) != np.shape(truth) or np.ndim(truth) != 3 or not len(truth):
        raise DataError(
            f"valid_steps: wanted two times [T, B, V], got {np.shape(predicted)} and "
            f"{np.shape(truth)}"
        )
    if not (np.asarray(deviation) > 0).all():
        raise DataError(f"valid_steps: wanted deviations above 0, got {deviation}")
    wrong = errors(predicted, truth, deviation) > threshold
    return np.where(wrong.any(0), wrong.argmax(0), len(wrong))
