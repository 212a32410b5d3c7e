"""The flow between and across spikes, and its derivative."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recurrent_networks import random_network
from scipy import sparse
from scipy.integrate import solve_ivp

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.exact import ExactFlow

RESETS = ["zero", "subtract"]
REFRACTORY = [0.0, 0.0004, 0.0023]  # none, less than a step, more


def states(network: RecurrentNetwork, seed: int) -> np.ndarray:
    """A first state: V, then I where there are currents."""
    rng = np.random.default_rng(seed)
    V, current = rng.uniform(0, 0.7, len(network)), rng.uniform(-0.2, 0.4, len(network))
    return V if network.tau_s is None else np.concatenate([V, current])


def run(
    network: RecurrentNetwork, start: np.ndarray, steps: int, *, tangent: bool = False, **drive: Any
) -> tuple[np.ndarray, np.ndarray, ExactFlow]:
    """The state after `steps` steps, and its derivative with respect to the first."""
    N, n = len(network), len(start)
    flow = ExactFlow(network, **drive)
    flow.V[:] = start[:N]
    if n > N:
        flow.I[:] = start[N:]
    slots = flow.tangent.shape[0] // N
    if tangent:
        Z = np.zeros((N, slots, n))
        for a in range(n):
            Z[a % N, a // N, a] = 1
        flow.tangent = Z.reshape(N * slots, n)
    flow.advance(steps)
    Z = flow.tangent.reshape(N, slots, -1)[:, : n // N]
    end = np.concatenate([flow.V, flow.I]) if n > N else flow.V.copy()
    return end, Z.transpose(1, 0, 2).reshape(n, -1), flow


def largest_error(network: RecurrentNetwork, start: np.ndarray, steps: int, **drive: Any) -> float:
    """Of the derivative, against central differences over a stretch without a change of order."""
    _, derivative, flow = run(network, start, steps, tangent=True, **drive)
    errors, step = [], 1e-6
    for a in range(len(start)):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[a] += sign * step
            end, _, other = run(network, moved, steps, **drive)
            assert other.spikes == flow.spikes
            ends.append(end)
        errors.append(np.abs((ends[0] - ends[1]) / (2 * step) - derivative[:, a]).max())
    return float(max(errors))


@pytest.mark.parametrize("refractory", REFRACTORY)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_the_derivative_is_that_of_the_flow(synapses: str, reset: str, refractory: float) -> None:
    """Jumps are strong enough here for neurons to fire at the instant of another's spike."""
    for seed in range(3):
        gain = 0.6 if synapses == "exponential" else 15.0
        network = random_network(
            6, seed=seed, gain=gain, synapses=synapses, reset=reset, refractory=refractory
        )
        _, _, flow = run(network, states(network, seed + 50), 60)
        assert flow.spikes > 6
        assert largest_error(network, states(network, seed + 50), 60) < 1e-6


@pytest.mark.parametrize("refractory", REFRACTORY)
@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_the_derivative_across_one_spike(synapses: str, refractory: float) -> None:
    """Neuron 0 fires alone and reaches the others, an autapse among them; the input changes."""
    weights = sparse.csr_array(np.outer([0.1, 0.3, -0.4], [1.0, 0, 0]))
    network = RecurrentNetwork(
        weights=weights,
        tau_m=np.array([0.02, 0.01, 0.015]),
        tau_s=np.array([0.005, 0.01, 0.015]) if synapses == "exponential" else None,
        inputs=sparse.csr_array(np.ones((3, 1))),
        bias=np.array([1.5, 0.3, 0.2]),
        refractory=refractory,
    )
    start = np.array([0.9, 0.1, 0.2, 0.05, -0.1, 0.1])[: 3 if synapses == "jumps" else 6]
    drive = np.linspace(-0.1, 0.2, 12)[:, None]
    _, _, flow = run(network, start, 12, drive=drive)
    assert flow.spikes == 1
    assert largest_error(network, start, 12, drive=drive) < 1e-6


def test_a_neuron_released_above_its_threshold_fires_at_once() -> None:
    """Lifted far over it by a jump, lowered by θ, and held: it fires again when it is released."""
    weights = sparse.csr_array(np.array([[0, 0, 0], [42.0, 0, 0], [0, 9.0, 0]]))
    network = RecurrentNetwork(
        weights=weights,
        tau_m=np.full(3, 0.02),
        tau_s=None,
        bias=np.array([1.5, 0.8, 0.1]),
        reset="subtract",
        refractory=0.003,
    )
    start = np.array([0.9, 0.2, 0.1])
    _, _, flow = run(network, start, 15)
    assert flow.spikes == 3
    assert largest_error(network, start, 15) < 1e-6


def by_a_solver(network: RecurrentNetwork, start: np.ndarray, until: float) -> np.ndarray:
    """The state at `until`, by an adaptive solver that stops at each crossing."""
    N, W = len(network), network.weights.toarray()
    bias, theta = network.bias, network.threshold
    assert network.tau_s is not None
    assert bias is not None
    assert theta is not None
    tau_m, tau_s = network.tau_m, network.tau_s
    release, t, y = np.full(N, -1.0), 0.0, start.copy()

    def above(i: int) -> Any:
        def event(time: float, y: np.ndarray) -> float:
            return float(y[i] - theta[i]) if release[i] < 0 else -1.0

        event.terminal, event.direction = True, 1  # type: ignore[attr-defined]
        return event

    while t < until:
        free = release < 0

        def f(time: float, y: np.ndarray, free: np.ndarray = free) -> np.ndarray:
            return np.concatenate([free * (bias + y[N:] - y[:N]) / tau_m, -y[N:] / tau_s])

        stop = min([until, *release[~free]])
        events = [above(i) for i in range(N)]
        found = solve_ivp(f, (t, stop), y, events=events, rtol=1e-11, atol=1e-12, max_step=5e-4)
        t, y = float(found.t[-1]), found.y[:, -1].copy()
        fired = [i for i in range(N) if len(found.t_events[i])]
        for j in fired:
            y[j] = 0 if network.reset == "zero" else y[j] - theta[j]
            y[N:] += W[:, j]
            if network.refractory > 0:
                release[j] = t + network.refractory
        if not fired:
            release[release == stop] = -1
    return y


@pytest.mark.parametrize(("reset", "refractory"), [("zero", 0.0023), ("subtract", 0.0)])
def test_the_flow_is_that_of_the_differential_equations(reset: str, refractory: float) -> None:
    for seed in range(2):
        network = random_network(4, seed=seed, gain=1.0, reset=reset, refractory=refractory)
        end, _, flow = run(network, states(network, seed), 40)
        assert flow.spikes > 4
        np.testing.assert_allclose(
            end, by_a_solver(network, states(network, seed), 0.04), atol=1e-7
        )


def test_the_grid_is_there_for_the_input_alone() -> None:
    network = random_network(10, refractory=0.0023)
    start = states(network, 0)
    end, derivative, _ = run(network, start, 30, tangent=True)
    fine = run(replace(network, dt=network.dt / 7), start, 210, tangent=True)
    np.testing.assert_allclose(end, fine[0], atol=1e-11)
    np.testing.assert_allclose(derivative, fine[1], atol=1e-9)


def test_equal_and_nearly_equal_time_constants() -> None:
    """Where the formula between spikes is a difference of equal exponentials."""
    ends = []
    for apart in (0.0, 1e-9, 1e-7):
        network = random_network(6)
        assert network.tau_s is not None
        network = replace(network, tau_s=network.tau_m * (1 + apart))
        ends.append(run(network, states(network, 0), 40)[0])
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)
    np.testing.assert_allclose(ends[2], ends[0], atol=1e-4)
    assert largest_error(replace(network, tau_s=network.tau_m), states(network, 0), 40) < 1e-6


def test_an_avalanche_without_end_is_refused() -> None:
    network = RecurrentNetwork(
        weights=sparse.csr_array(np.full((4, 4), 100.0)),
        tau_m=np.full(4, 0.02),
        tau_s=None,
        bias=np.full(4, 1.5),
    )
    with pytest.raises(ConfigError, match="saturated"):
        ExactFlow(network).advance(100)


def test_a_crossing_within_a_step_that_ends_below_the_threshold_is_seen() -> None:
    network = RecurrentNetwork(
        weights=sparse.csr_array((1, 1)), tau_m=np.array([0.02]), tau_s=np.array([0.005]), dt=0.05
    )
    start = np.array([0.0, 8.0])
    end, derivative, flow = run(network, start, 1, tangent=True)
    fine = run(replace(network, dt=1e-4), start, 500, tangent=True)
    assert flow.spikes == fine[2].spikes == 1
    np.testing.assert_allclose(end, fine[0], atol=1e-11)
    np.testing.assert_allclose(derivative, fine[1], atol=1e-9)
