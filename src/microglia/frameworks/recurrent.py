"""A recurrent network of leaky integrate-and-fire neurons, as its dynamics see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import nn

from microglia.errors import ConfigError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RecurrentNetwork:
    """N neurons that fire into each other, in continuous time.

        τ_m,i dV_i/dt = −V_i + I_i + b_i + (W_in u)_i
        τ_s,i dI_i/dt = −I_i,   I_i += w_ij whenever neuron j fires

    Neuron i fires where V_i reaches θ_i; V_i is then set to 0 ("zero") or lowered by θ_i
    ("subtract"), and stays so for the refractory time. On a grid of step dt, with α_i =
    exp(−dt/τ_s,i) and β_i = exp(−dt/τ_m,i), spikes S and S[−1] = 0:

        I[t] = α I[t−1] + W S[t−1]
        H[t] = β V[t−1] + (1 − β) (I[t] + b + W_in u[t]),   S[t] = 1[H[t] ≥ θ],   V[t] after reset

    Without synaptic time constants I[t] = W S[t−1]. Times are in seconds.

    Args:
        weights: W [N, N], CSR, as which other matrices are taken; w_ij leads from neuron j to
            neuron i.
        tau_m: membrane time constants [N].
        tau_s: synaptic time constants [N], or None.
        inputs: W_in [N, K], CSR, or None where nothing comes in.
        bias: b [N].
        threshold: θ [N].
        inhibitory: which neurons inhibit [N]; None where neurons have both kinds of synapses.
        refractory: absolute refractory time, rounded to steps on a grid.
        dt: the step of the grid.

    Raises:
        ConfigError: shapes that don't fit, times that aren't positive, values that aren't finite.
    """

    weights: sparse.csr_array
    tau_m: Array
    tau_s: Array | None
    inputs: sparse.csr_array | None = None
    bias: Array | None = None
    threshold: Array | None = None
    inhibitory: Array | None = None
    reset: Literal["zero", "subtract"] = "zero"
    refractory: float = 0.0
    dt: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("weights", "inputs"):
            matrix = getattr(self, name)
            if matrix is not None and not isinstance(matrix, sparse.csr_array):
                object.__setattr__(self, name, _csr(name, matrix))
        N = self.weights.shape[0]
        if self.weights.shape != (N, N):
            raise ConfigError(f"weights: wanted a square matrix, got {self.weights.shape}")
        if not N:
            raise ConfigError("weights: wanted at least one neuron, got a matrix of none")
        if self.bias is None:
            object.__setattr__(self, "bias", np.zeros(N))
        if self.threshold is None:
            object.__setattr__(self, "threshold", np.ones(N))
        for name in ("tau_m", "tau_s", "bias", "threshold", "inhibitory"):
            value = getattr(self, name)
            if value is None:
                continue
            if np.shape(value) != (N,):
                raise ConfigError(
                    f"{name}: wanted a value for each of {N} neurons, got shape {np.shape(value)}"
                )
            if not np.isfinite(value).all():
                raise ConfigError(f"{name}: wanted finite numbers, got {value}")
        for name in ("tau_m", "tau_s", "threshold"):
            value = getattr(self, name)
            if value is not None and not (value > 0).all():
                worst = int(np.argmin(value))
                raise ConfigError(
                    f"{name}: wanted positive numbers; neuron {worst} has {value[worst]}"
                )
        if self.inputs is not None and self.inputs.shape[0] != N:
            raise ConfigError(f"inputs: wanted [{N}, K], got {self.inputs.shape}")
        for name in ("weights", "inputs"):
            matrix = getattr(self, name)
            if matrix is not None and not np.isfinite(matrix.data).all():
                raise ConfigError(f"{name}: wanted finite numbers, got some that aren't")
        if not (0 < self.dt < np.inf and 0 <= self.refractory < np.inf):
            raise ConfigError(
                "wanted finite times, dt above 0 and refractory at least 0, got "
                f"{self.dt} and {self.refractory}"
            )
        if self.reset not in ("zero", "subtract"):
            raise ConfigError(f"reset: 'zero' or 'subtract' expected, got {self.reset!r}")

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    def __repr__(self) -> str:
        N, E = len(self), self.weights.nnz
        inputs = 0 if self.inputs is None else self.inputs.shape[1]
        return (
            f"RecurrentNetwork({N:,} neurons, {E:,} synapses ({E / N**2:.2%}), {inputs} inputs, "
            f"tau_m {1e3 * self.tau_m.mean():.3g} ms, dt {1e3 * self.dt:g} ms)"
        )

    @property
    def refractory_steps(self) -> int:
        """The refractory time in steps of the grid."""
        return round(self.refractory / self.dt)

    def with_weights(self, weights: sparse.csr_array) -> RecurrentNetwork:
        """The same neurons with other synapses."""
        return replace(self, weights=weights)

    def of(self, neurons: Array) -> RecurrentNetwork:
        """The network of some of the neurons (indices, or a boolean [N]) and what joins them."""

        def rows(value: Array | None) -> Array | None:
            return None if value is None else value[neurons]

        return replace(
            self,
            weights=self.weights[neurons][:, neurons].tocsr(),
            tau_m=self.tau_m[neurons],
            tau_s=rows(self.tau_s),
            inputs=None if self.inputs is None else self.inputs[neurons].tocsr(),
            bias=rows(self.bias),
            threshold=rows(self.threshold),
            inhibitory=rows(self.inhibitory),
        )


def _csr(name: str, matrix: Any) -> sparse.csr_array:
    """Of another sparse format, or a dense matrix."""
    try:
        found = sparse.csr_array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as fault:
        raise ConfigError(f"{name}: wanted a matrix of SciPy or NumPy, got {matrix!r}") from fault
    if found.ndim != 2:
        raise ConfigError(f"{name}: wanted a matrix, got shape {found.shape}")
    return found


def from_factors(
    *,
    beta: Array | float,
    weights: Array,
    inputs: Array,
    bias: Array,
    threshold: Array | float,
    reset: Literal["zero", "subtract"],
    alpha: Array | float | None = None,
    rate: bool = False,
    hold: int = 0,
    dt: float,
) -> RecurrentNetwork:
    """The network of a framework's layer, which is written in factors a step:

        I[t] = α I[t−1] + W S[t−1],   H[t] = β V[t−1] + γ (I[t] + b + W_in u[t])

    with γ = 1, or 1 − β where ``rate`` is set. Weights and bias are multiplied by γ / (1 − β), so
    that H is the same on the grid. ``weights`` [N, N], ``inputs`` [N, K] and ``bias`` [N] are
    dense; factors and θ one number or [N]; ``hold`` steps are refractory.

    Raises:
        ConfigError: a factor that isn't between 0 and 1, where no time constant belongs to it.
    """
    N = len(bias)
    factors = {"beta": np.broadcast_to(np.asarray(beta, dtype=np.float64), N)}
    if alpha is not None:
        factors["alpha"] = np.broadcast_to(np.asarray(alpha, dtype=np.float64), N)
    for name, value in factors.items():
        if not ((value > 0) & (value < 1)).all():
            raise ConfigError(
                f"{name}: what is left after a step must lie between 0 and 1 for a time constant, "
                f"got {value.min():g} to {value.max():g}"
            )
    scale = np.ones(N) if rate else 1 / (1 - factors["beta"])
    tau = {name: -dt / np.log(value) for name, value in factors.items()}
    return RecurrentNetwork(
        weights=sparse.csr_array(scale[:, None] * weights),
        tau_m=tau["beta"],
        tau_s=tau.get("alpha"),
        inputs=sparse.csr_array(scale[:, None] * inputs),
        bias=scale * bias,
        threshold=np.broadcast_to(np.asarray(threshold, dtype=np.float64), N).copy(),
        reset=reset,
        refractory=hold * dt,
        dt=dt,
    )


@dataclass(frozen=True)
class RecurrentWeight:
    """Where a module keeps its W: columns from ``first`` on of the parameter ``name`` [N, ...].

    W itself may be that times a factor for each row, and a matrix that isn't the parameter's.
    """

    name: str
    first: int = 0


Reader = Callable[[Any, float], RecurrentNetwork]
_readers: dict[type[nn.Module], tuple[Reader, RecurrentWeight | None]] = {}


def register_recurrent(cls: type[nn.Module], reader: Reader, *, weight: str | None = None) -> None:
    """Tell microglia what the recurrent network of a module of class ``cls`` is.

    ``reader(module, dt)`` returns it; ``dt`` is the length of a time step in seconds, where the
    module doesn't know it. ``weight`` names the parameter [N, N] of the module, with row i of the
    synapses into neuron i, that its synapses can be pruned in, such as "w_rec.weight".

    Raises:
        ConfigError: ``cls`` is not a module class.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(f"register_recurrent wants a subclass of torch.nn.Module, got {cls!r}")
    _readers[cls] = (reader, None if weight is None else RecurrentWeight(weight))


def registered_reader(module: nn.Module) -> tuple[Reader, RecurrentWeight | None] | None:
    """What the module's class, or the nearest base of it, was registered with."""
    return next((_readers[base] for base in type(module).__mro__ if base in _readers), None)
