"""How much each neuron leaks after synapses are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.graph import Array, ends, same_synapses
from microglia.lyapunov.linearisation import Linearisation

Leak = Literal["kept", "matched"]
LEAST = 0.1
"""So much of its leak a spiking neuron keeps at least: below 0 it would have no time constant."""


def match_leak(network: RecurrentNetwork, linear: Linearisation, growth: Array) -> RecurrentNetwork:
    """The network before its closed synapses go, its neurons leaking as `with_leak` "matched" says.

        1/τ'_i = max(1/τ_i + Σ_{j≠i} |A'_ij| − Σ_{j≠i} |A_ij|, 0.1/τ_i)

    τ_m alone can't change: what enters V is divided by it. So rows of W and W_in and the biases are
    multiplied by τ'_i/τ_i, which leaves every A_ij, i ≠ j, as it was. (A reconstruction; the bound
    is this library's.)

    Args:
        linear: the network as it is, with A.
        growth: A'_ij / A_ij of each synapse [E], 0 where it goes.
    """
    before = linear.A
    kept = linear.effective.copy()
    kept.data = linear.entries * growth
    matched = with_leak(before, kept, "matched").diagonal()
    leak = 1 / network.tau_m
    slower = leak / np.maximum(leak + before.diagonal() - matched, LEAST * leak)
    post, _ = ends(network.weights)
    inputs = network.inputs
    return replace(
        network,
        weights=same_synapses(network.weights, network.weights.data * slower[post]),
        tau_m=network.tau_m * slower,
        inputs=None if inputs is None else (sparse.diags_array(slower) @ inputs).tocsr(),
        bias=None if network.bias is None else network.bias * slower,
    )


def with_leak(before: sparse.csr_array, after: sparse.csr_array, leak: Leak) -> sparse.csr_array:
    """The pruned linear system A' with its diagonal: that of A, "kept", or "matched".

        matched   A'_ii = A_ii − (Σ_{j≠i} |A'_ij| − Σ_{j≠i} |A_ij|)

    Matched is noise pruning's, and what its theorem wants; in a network whose weights aren't
    symmetric it takes leak away where little was kept, and may leave A' unstable.

    Args:
        before: A [N, N], 1/s.
        after: A' [N, N], whose own diagonal is not looked at.
    """
    diagonal = before.diagonal()
    if leak == "matched":
        diagonal = diagonal - (_strength(after) - _strength(before))
    elif leak != "kept":
        raise ConfigError(f"leak: 'kept' or 'matched' expected, got {leak!r}")
    system = sparse.csr_array(after, copy=True)
    return (system + sparse.diags_array(diagonal - after.diagonal())).tocsr()


def _strength(A: sparse.csr_array) -> Array:
    """Σ_{j≠i} |A_ij| [N]."""
    return np.asarray(abs(A).sum(axis=1) - abs(A.diagonal()))
