"""A spiking network near its working point, as a linear one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError
from microglia.lyapunov.abscissa import numerical_abscissa, spectral_abscissa
from microglia.lyapunov.graph import (
    Array,
    ends,
    for_each_neuron,
    positive_for_each,
    same_synapses,
    synapses,
)


@dataclass(frozen=True, eq=False)
class Linearisation:
    """dx/dt = A x + ξ, with A = diag(1/τ_m)(−Id + c W_eff).

    Args:
        effective: W_eff [N, N], without unit, on the synapses of W (zeros stay stored).
        tau_m: [N], seconds.
        scale: c, 1 unless the network as it is would be unstable, or nearly so.
        abscissa: max Re λ of W_eff, before c.
    """

    effective: sparse.csr_array
    tau_m: Array
    scale: float
    abscissa: float

    @property
    def A(self) -> sparse.csr_array:  # noqa: N802
        """A [N, N], 1/s."""
        rates = sparse.diags_array(1 / self.tau_m)
        return (rates @ (self.scale * self.effective) - rates).tocsr()

    @property
    def entries(self) -> Array:
        """c W_eff,ij / τ_m,i of each synapse [E], 1/s: A_ij, but for the leak on its diagonal."""
        post, _ = ends(self.effective)
        return np.asarray(self.scale * self.effective.data / self.tau_m[post])

    def __str__(self) -> str:
        reach = f"the effective weights reach {self.abscissa:.3g}"
        if self.scale == 1:
            return f"{reach}: linearised as they are"
        return f"{reach}: coupling scaled by {self.scale:.3g}, so that the linearisation is stable"


def linearise(
    weights: Any, tau_m: Any, *, tau_s: Any, gains: Any, bound: float = 0.8
) -> Linearisation:
    """The linear rate network of a spiking one: W_eff,ij = w_ij τ_s,i g_j.

    A spike of j adds w_ij to the current of i, which decays with the time constant of the
    *receiving* neuron and so holds w_ij τ_s,i in all; j fires g_j spikes a second more for each
    unit of current more. c is 1 where max Re λ(W_eff) is at most `bound`, and otherwise scales it
    to `bound`; where τ_m differ so much that A has an eigenvalue right of 0 even so, c is lowered
    by steps of 0.8. (A reconstruction: the paper has a linearised rate model with matrices D and
    L, which are not known in detail.)

    Args:
        weights: W [N, N], from j to i.
        tau_m: [N], seconds.
        tau_s: [N] or one value, seconds; the grid's dt where a current lasts one step.
        gains: g [N], spikes/s for each unit of current, at least 0.

    Raises:
        ConfigError: shapes, time constants, gains or a bound that can't be.
    """
    W = synapses(weights)
    N = W.shape[0]
    tau_m = positive_for_each("tau_m", tau_m, N)
    tau_s = positive_for_each("tau_s", tau_s, N)
    gains = for_each_neuron("gains", gains, N, least=0.0)
    if not 0 < bound < 1:
        raise ConfigError(f"bound: wanted a number between 0 and 1, got {bound}")
    post, pre = ends(W)
    effective = same_synapses(W, W.data * tau_s[post] * gains[pre])
    abscissa = spectral_abscissa(effective)
    # A synapse of a neuron onto itself must leave it some leak, or its variance has no bound.
    reach = max(abscissa, float(effective.diagonal().max(initial=0.0)))
    scale = 1.0 if reach <= bound else bound / reach
    linear = Linearisation(effective, tau_m, scale, abscissa)
    # If c times the numerical abscissa is below 1, xᵀ diag(τ) x falls along every path.
    certain = numerical_abscissa(effective)
    while linear.scale * certain >= 1 and spectral_abscissa(linear.A) >= 0:
        linear = Linearisation(effective, tau_m, 0.8 * linear.scale, abscissa)
    return linear
