"""Small recurrent networks that fire."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from microglia.frameworks.recurrent import RecurrentNetwork


def random_network(
    N: int,
    *,
    seed: int = 0,
    gain: float = 0.6,
    density: float = 0.5,
    synapses: str = "exponential",
    **settings: Any,
) -> RecurrentNetwork:
    """Neurons of mixed time constants, driven over their thresholds, both signs of weights."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((N, N)) * (rng.random((N, N)) < density)
    weights *= gain / np.sqrt(max(density * N, 1))
    return RecurrentNetwork(
        weights=sparse.csr_array(weights),
        tau_m=rng.uniform(0.01, 0.03, N),
        tau_s=rng.uniform(0.003, 0.008, N) if synapses == "exponential" else None,
        bias=rng.uniform(1.2, 1.8, N),
        threshold=rng.uniform(0.8, 1.1, N),
        **settings,
    )
