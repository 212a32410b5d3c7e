"""Smooth networks and maps, with perturbations of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from microglia.errors import ConfigError, nearest
from microglia.frameworks.recurrent import Array
from microglia.lyapunov.streams import stream

Function = Callable[[Array], Array]

NONLINEARITIES: dict[str, tuple[Function, Function]] = {
    "tanh": (np.tanh, lambda x: np.asarray(1 - np.tanh(x) ** 2)),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.asarray(x > 0, float)),
    "linear": (lambda x: x, np.ones_like),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class RateNetwork:
    """N smooth units: τ_i dx_i/dt = −x_i + Σ_j J_ij φ(x_j) + b_i.

    Args:
        weights: J [N, N], dense or sparse.
        tau: time constants [N], or one for all, in seconds.
        bias: b [N].
        phi: "tanh", "relu", "linear", or a pair of functions (φ, φ') on arrays [N].
        dt: the step of the Runge-Kutta method (fourth order).

    Raises:
        ConfigError: shapes that don't fit, times that aren't positive, values that aren't finite.
    """

    weights: Any
    tau: Any = 0.01
    bias: Array | None = None
    phi: str | tuple[Function, Function] = "tanh"
    dt: float = 1e-3

    def __post_init__(self) -> None:
        N = self.weights.shape[0]
        if self.weights.shape != (N, N):
            raise ConfigError(f"weights: wanted a square matrix, got {self.weights.shape}")
        if not N:
            raise ConfigError("weights: wanted at least one unit, got a matrix of none")
        tau = np.asarray(self.tau, float)
        object.__setattr__(self, "tau", np.full(N, tau) if tau.ndim == 0 else tau)
        object.__setattr__(self, "bias", np.zeros(N) if self.bias is None else self.bias)
        for name in ("tau", "bias"):
            value = getattr(self, name)
            if np.shape(value) != (N,) or not np.isfinite(value).all():
                raise ConfigError(f"{name}: wanted {N} finite numbers, got {value}")
        values = self.weights.data if sparse.issparse(self.weights) else self.weights
        if not np.isfinite(values).all():
            raise ConfigError("weights: wanted finite numbers, got some that aren't")
        if not (self.tau > 0).all() or not self.dt > 0:
            raise ConfigError(f"wanted tau and dt above 0, got {self.tau.min()} and {self.dt}")
        if isinstance(self.phi, str) and self.phi not in NONLINEARITIES:
            raise ConfigError(
                f"phi: '{self.phi}' is unknown.{nearest(self.phi, list(NONLINEARITIES))}"
            )

    def __len__(self) -> int:
        return int(self.weights.shape[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class SmoothMap:
    """Any differentiable map x → f(x).

    Args:
        step: f, on arrays [n].
        jacobian: Df, which gives [n, n].
        start: where to begin [n].
        dt: the time that a step stands for, in seconds.
    """

    step: Function
    jacobian: Function
    start: Array
    dt: float = 1.0


def check_bounded(values: Array) -> None:
    """Raises ConfigError for a state, or perturbations, that aren't numbers any more."""
    if not np.isfinite(values).all():
        raise ConfigError(
            "the network, or a perturbation of it, grew beyond all bounds, and its exponents are "
            "undefined; lower the weights or the interval"
        )


class RateFlow:
    """`x` [N] and perturbations `tangent` [N, k], by one Runge-Kutta method together."""

    spikes = 0

    def __init__(self, network: RateNetwork, *, seed: int = 0):
        self.network, self.dt, self.dimension = network, network.dt, len(network)
        phi = network.phi
        self._phi, self._slope = NONLINEARITIES[phi] if isinstance(phi, str) else phi
        self.x = stream(seed, "state").standard_normal(len(network))
        self.tangent = np.zeros((len(network), 0))

    def directions(self, k: int, rng: np.random.Generator) -> Array:
        """k random perturbations, as columns; those of the first k' < k are the same k'."""
        return rng.standard_normal((k, self.dimension)).T.copy()

    def _velocity(self, state: Array) -> Array:
        """Of x, in column 0, and of its perturbations, in the others."""
        x = state[:, 0]
        sent = state * self._slope(x)[:, None]
        sent[:, 0] = self._phi(x)
        moved = self.network.weights @ sent - state
        moved[:, 0] += self.network.bias
        return np.asarray(moved / self.network.tau[:, None])

    def advance(self, steps: int) -> None:
        """`steps` steps of the state and of `tangent`."""
        state, h = np.column_stack([self.x, self.tangent]), self.dt
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                one = self._velocity(state)
                two = self._velocity(state + h / 2 * one)
                three = self._velocity(state + h / 2 * two)
                four = self._velocity(state + h * three)
                state = state + h / 6 * (one + 2 * two + 2 * three + four)
        check_bounded(state)
        self.x, self.tangent = state[:, 0].copy(), state[:, 1:].copy()


class MapFlow:
    """`x` [n] and perturbations `tangent` [n, k] of a map."""

    spikes = 0

    def __init__(self, network: SmoothMap):
        self.network, self.dt, self.dimension = network, network.dt, len(network.start)
        self.x = np.asarray(network.start, float)
        self.tangent = np.zeros((self.dimension, 0))

    def directions(self, k: int, rng: np.random.Generator) -> Array:
        """k random perturbations, as columns; those of the first k' < k are the same k'."""
        return rng.standard_normal((k, self.dimension)).T.copy()

    def advance(self, steps: int) -> None:
        """`steps` steps of the state and of `tangent`."""
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                self.tangent = np.asarray(self.network.jacobian(self.x)) @ self.tangent
                self.x = np.asarray(self.network.step(self.x), float)
        check_bounded(self.x)
