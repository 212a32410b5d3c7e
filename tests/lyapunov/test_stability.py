"""Every default path leaves a stable linear network, and each step says how stable it is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import (
    LNPConfig,
    Pruned,
    Stability,
    linear_stability,
    lyapunov_noise_pruning,
    memory_capacity,
)
from microglia.lyapunov.gain import Gains, estimate_gains
from microglia.lyapunov.streams import stream
from microglia.networks import CHRSNNConfig, Distance, Gamma, HRSNNConfig, SmallWorld

SMALL = HRSNNConfig(neurons=90, wiring=SmallWorld(neighbours=18), weight=0.2)
NETWORKS: dict[str, Any] = {
    "small world": SMALL,
    "distance": replace(SMALL, wiring=Distance(ee=0.6, ei=0.6, ie=0.6, ii=0.3)),
    "jumps": replace(SMALL, tau_s=None, weight=0.5, reset="subtract"),
    "spread": replace(SMALL, tau_m=Gamma(30e-3, 1.5), tau_s=Gamma(8e-3, 2.0)),
    "clusters": CHRSNNConfig(
        clusters=(replace(SMALL, neurons=50), replace(SMALL, neurons=50, tau_m=Gamma(60e-3, 4.0))),
        long_range=0.1,
    ),
}
quick = partial(memory_capacity, steps=400)


def pruned(net: RecurrentNetwork, seed: int = 0, **settings: Any) -> list[Pruned]:
    return list(lyapunov_noise_pruning(net, LNPConfig(**settings), seed=seed, metric=quick))


def by_hand(net: RecurrentNetwork, gains: Any) -> tuple[float, float]:
    """max Re λ of W_eff and of A, from dense matrices."""
    tau_s = np.full(len(net), net.dt) if net.tau_s is None else net.tau_s
    effective = tau_s[:, None] * net.weights.toarray() * gains
    A = (effective - np.eye(len(net))) / net.tau_m[:, None]
    return float(np.linalg.eigvals(effective).real.max()), float(np.linalg.eigvals(A).real.max())


PATHS = [
    pytest.param(kind, calibrate, marks=pytest.mark.full if slow else ())
    for kind in NETWORKS
    for calibrate, slow in (("deviation", False), ("memory", kind != "clusters"))
]


@pytest.mark.parametrize(("kind", "calibrate"), PATHS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_default_paths_are_stable_after_every_step_and_the_gain(
    kind: str, calibrate: str, seed: int
) -> None:
    for neurons in (0.0, 0.3):
        net = NETWORKS[kind].draw(seed)
        for state in pruned(net, seed, neurons=neurons, calibrate=calibrate):
            gains = estimate_gains(state.network, generator=stream(seed, "gains")).gain
            reach, abscissa = by_hand(state.network, gains)
            assert abscissa < 0
            step = state.steps[-1]
            assert (step.reach, step.abscissa) == pytest.approx((reach, abscissa), rel=1e-6)
            assert "is stable" in step.said


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("times", [0.1, 3.0, 30.0])
def test_it_is_of_the_network_as_it_is(
    seed: int, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However strong: no coupling is scaled for it."""
    gains = np.random.default_rng(seed).gamma(2, 10, 90)
    monkeypatch.setattr(
        "microglia.lyapunov.stability.estimate_gains", lambda net, generator: Gains(gains, gains)
    )
    net = NETWORKS["spread"].draw(seed)
    found = linear_stability(net.with_weights(net.weights * times), seed=seed)
    wanted = by_hand(net.with_weights(net.weights * times), gains)
    assert (found.reach, found.abscissa) == pytest.approx(wanted, rel=1e-6)
    assert found.stable == (wanted[1] < 0)


@pytest.mark.parametrize(
    ("coupling", "words", "near"),
    [
        (0.0, "is stable:", False),
        (0.79, "is stable:", False),
        (0.81, "near instability", True),
        (1.01, "is unstable", True),
    ],
)
def test_a_loop_of_two_is_unstable_from_one_on(
    coupling: float, words: str, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "microglia.lyapunov.stability.estimate_gains",
        lambda net, generator: Gains(np.full(2, 20.0), np.ones(2)),
    )
    weights = sparse.csr_array(np.array([[0.0, coupling / 0.1], [coupling / 0.1, 0.0]]))
    net = RecurrentNetwork(weights=weights, tau_m=np.full(2, 0.02), tau_s=np.full(2, 0.005))
    found = linear_stability(net)
    assert found.reach == pytest.approx(coupling)
    assert found.abscissa == pytest.approx((coupling - 1) / 0.02)
    assert words in str(found)
    assert (found.near, found.stable) == (near, coupling < 1)


def test_a_slow_mode_is_near_instability_whatever_the_weights_reach() -> None:
    assert Stability(reach=0.5, abscissa=-1.0, leak=10.0).near
    assert not Stability(reach=0.5, abscissa=-3.0, leak=10.0).near


def test_what_is_near_instability_or_beyond_is_said() -> None:
    strong = replace(SMALL, refractory=0.0)
    last = pruned(replace(strong, weight=1.0).draw(0), sparsity=0.5, calibrate="deviation")[-1]
    assert "near instability" in last.steps[-1].said
    assert not linear_stability(replace(strong, weight=5.0).draw(0)).stable
