"""Lyapunov exponents and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """The leading Lyapunov exponents of a network, in 1/s, from the largest down.

    They stand in the order of the QR decomposition, which swaps neighbours that lie within their
    errors.

    Args:
        exponents: λ [k]. −inf where perturbations die at once: a neuron that a voltage jump lifts
            over its threshold, and that is set to zero, remembers nothing.
        errors: standard error of each exponent over windows of the time measured.
        dimension: of the state: 2N, or N without synaptic currents, or the number of rate units.
        method: "exact" or "surrogate" of a spiking network, "smooth" of any other.
        duration: the time measured, in seconds.
        rate: mean firing rate in Hz; None for a network that doesn't spike.
        gamma: steepness of the surrogate derivative, on which its exponents depend.
    """

    exponents: Array
    errors: Array
    dimension: int
    method: str
    duration: float
    rate: float | None = None
    gamma: float | None = None

    @property
    def kaplan_yorke(self) -> float:
        """Dimension of the attractor, j + Σ_{a≤j} λ_a / |λ_{j+1}|; j is the last where Σ ≥ 0.

        Raises:
            ConfigError: the sum of the exponents that were computed isn't negative yet.
        """
        sums = np.cumsum(self.exponents)
        below = np.flatnonzero(sums < 0)
        if len(below) == 0:
            if len(sums) == self.dimension:
                return float(self.dimension)
            raise ConfigError(
                f"kaplan_yorke: the first {len(sums)} exponents sum to {sums[-1]:.3g}, which isn't "
                f"negative yet; compute more of the {self.dimension} (k)"
            )
        j = int(below[0])
        return float(j + (sums[j - 1] / -self.exponents[j] if j else 0.0))

    @property
    def entropy_rate(self) -> float:
        """Σ of the positive exponents computed, in nats per second: no flow makes more entropy."""
        return float(self.exponents[self.exponents > 0].sum())

    def __str__(self) -> str:
        how = self.method if self.gamma is None else f"{self.method}, γ {self.gamma:g}"
        lines = [
            f"Lyapunov spectrum ({how}), {len(self.exponents)} of {self.dimension} exponents "
            f"over {self.duration:g} s"
        ]
        if self.rate is not None:
            lines.append(f"mean firing rate  {self.rate:.1f} Hz")
        lines.append(f"entropy rate      at most {self.entropy_rate:.2f} nats/s")
        try:
            lines.append(f"Kaplan-Yorke      {self.kaplan_yorke:.2f}")
        except ConfigError:
            lines.append(f"Kaplan-Yorke      above {len(self.exponents)}")
        shown = [
            f"  λ_{a}  {value:8.2f} ± {error:.2f} /s"
            for a, (value, error) in enumerate(zip(self.exponents, self.errors, strict=True), 1)
        ]
        lines += shown if len(shown) <= 12 else [*shown[:10], "  …", shown[-1]]
        return "\n".join(lines)


def rates_of_growth(logs: Array, interval: float, windows: int) -> tuple[Array, Array]:
    """Exponents and standard errors [k], from log growth [intervals, k] in equal windows."""
    means = np.stack([part.mean(0) for part in np.array_split(logs, windows)]) / interval
    exponents = logs.mean(0) / interval
    lost = np.isneginf(exponents)
    means[:, lost] = 0.0  # −inf for certain
    errors = means.std(0, ddof=1) / np.sqrt(windows)
    return exponents, errors
