"""Does the input still reach the readout?"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csgraph

from microglia.errors import ConfigError
from microglia.lyapunov.graph import Array, synapses


def cut_off(weights: Any, inputs: Array, readout: Array | None = None) -> Array:
    """The neurons of the readout that no path leads to from any neuron with input, indices.

    Args:
        weights: W [N, N], from j to i.
        inputs: which neurons get input, boolean [N].
        readout: which neurons are read, boolean [N]; None for all.

    Raises:
        ConfigError: nothing of the readout can be reached.
    """
    W = synapses(weights)
    N = W.shape[0]
    inputs = np.asarray(inputs, bool)
    read = np.ones(N, bool) if readout is None else np.asarray(readout, bool)
    if inputs.shape != (N,) or read.shape != (N,):
        raise ConfigError(f"inputs, readout: wanted a boolean for each of {N} neurons")
    if not inputs.any() or not read.any():
        raise ConfigError("inputs, readout: no neuron gets input, or none is read")
    steps = csgraph.dijkstra(
        abs(W).T.tocsr(), indices=np.flatnonzero(inputs), min_only=True, unweighted=True
    )
    lost = np.flatnonzero(read & ~np.isfinite(steps))
    if len(lost) == int(read.sum()):
        raise ConfigError(
            f"budget: {W.nnz} synapses leave no path from the {int(inputs.sum())} neurons with "
            f"input to the {len(lost)} that are read; keep more synapses or neurons"
        )
    return lost
