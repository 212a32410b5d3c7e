"""Random recurrent networks that the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from microglia.lyapunov.graph import Array
from microglia.lyapunov.linearisation import Linearisation, linearise


@dataclass
class Example:
    """A network, what it is linearised by, and rates for its neurons."""

    weights: sparse.csr_array
    tau_m: Array
    gains: Array
    inhibitory: Array
    rates: Array
    linear: Linearisation


def random_weights(
    N: int, degree: int, rng: np.random.Generator, *, inhibition: float = 0.2
) -> tuple[sparse.csr_array, Array]:
    """Lognormal weights, some neurons inhibitory and four times as strong; and which those are."""
    inhibitory = rng.random(N) < inhibition
    post, pre = np.repeat(np.arange(N), degree), rng.integers(N, size=N * degree)
    off = post != pre
    values = rng.lognormal(0, 0.8, size=N * degree) * np.where(inhibitory[pre], -4.0, 1.0)
    weights = sparse.coo_array((values[off], (post[off], pre[off])), shape=(N, N)).tocsr()
    return weights, inhibitory


def example(
    N: int = 200,
    degree: int = 20,
    *,
    seed: int = 0,
    reach: float = 0.5,
    inhibition: float = 0.2,
) -> Example:
    """A network whose effective weights have their rightmost eigenvalue at `reach`."""
    rng = np.random.default_rng(seed)
    weights, inhibitory = random_weights(N, degree, rng, inhibition=inhibition)
    tau_m = rng.gamma(3, 0.02 / 3, size=N) + 1e-3
    gains = rng.gamma(2, 10, size=N)
    known: dict[str, Any] = {"tau_s": 5e-3, "gains": gains}
    weights *= reach / linearise(weights, tau_m, **known).abscissa
    rates = rng.lognormal(0, 0.8, size=N)
    linear = linearise(weights, tau_m, **known)
    return Example(weights, tau_m, gains, inhibitory, rates, linear)
