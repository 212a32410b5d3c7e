"""How far is a network, near its working point, from instability?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.abscissa import spectral_abscissa
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.given import network_of
from microglia.lyapunov.linearisation import linearise
from microglia.lyapunov.sparsify import tau_s
from microglia.lyapunov.streams import stream

MARGIN = 0.2
"""Nearer to instability than this part of the leak a network is called near it."""


@dataclass(frozen=True)
class Stability:
    """Of dx/dt = A x with A = diag(1/τ_m)(W_eff − Id), the network as it is linearised.

    Args:
        reach: max Re λ(W_eff), without unit. Where all τ_m are alike A is unstable from 1 on.
        abscissa: max Re λ(A), 1/s: unstable from 0 on.
        leak: of the slowest neuron, 1 / max τ_m, 1/s.
    """

    reach: float
    abscissa: float
    leak: float

    @property
    def stable(self) -> bool:
        """Whether perturbations of the linear network die out."""
        return self.abscissa < 0

    @property
    def near(self) -> bool:
        """Whether less than `MARGIN` of the leak is left before it is unstable, or nothing."""
        return self.reach > 1 - MARGIN or self.abscissa > -MARGIN * self.leak

    def __str__(self) -> str:
        word = "unstable"
        if self.stable:
            word = "stable, but near instability" if self.near else "stable"
        return (
            f"linearised, what is left is {word}: effective weights reach {self.reach:.2f} of 1, "
            f"its slowest perturbation {'grows' if self.abscissa > 0 else 'decays'} by "
            f"{abs(self.abscissa):.3g}/s"
        )


def linear_stability(network: RecurrentNetwork | nn.Module, *, seed: int = 0) -> Stability:
    """Of a spiking network as it is, no coupling scaled, at the gains of its own neurons.

    W_eff is that of `linearise`, gains are `estimate_gains`: under smooth noise, the same for all
    networks of a seed.
    """
    network = network_of(network, to="linear_stability")
    gains = estimate_gains(network, generator=stream(seed, "gains")).gain
    linear = linearise(network.weights, network.tau_m, tau_s=tau_s(network), gains=gains)
    return Stability(
        reach=linear.abscissa,
        abscissa=spectral_abscissa(replace(linear, scale=1.0).A),
        leak=float(1 / network.tau_m.max()),
    )
