"""The simulation does what `RecurrentNetwork` says, whoever computes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.simulation import simulate

RESETS, ENGINES = ("zero", "subtract"), ("numba", "numpy")


def network(seed: int = 0, *, N: int = 40, K: int = 3, **changes: Any) -> RecurrentNetwork:
    """A network with everything, that fires."""
    rng = np.random.default_rng(seed)
    weights = sparse.random_array((N, N), density=0.2, rng=rng, format="csr")
    weights.data = rng.normal(0, 1.5, weights.nnz)
    settings: dict[str, Any] = {
        "weights": weights,
        "tau_m": rng.gamma(3, 5e-3, N) + 1e-3,
        "tau_s": rng.gamma(3, 2e-3, N) + 1e-3,
        "inputs": sparse.csr_array(rng.normal(0, 1, (N, K))),
        "bias": rng.uniform(0, 1.2, N),
        "threshold": rng.uniform(0.6, 1.2, N),
        "refractory": 2e-3,
    }
    return RecurrentNetwork(**(settings | changes))


def dense_loop(net: RecurrentNetwork, drive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The equations of `RecurrentNetwork` word by word, of one sample: S and H."""
    N, W, U = len(net), net.weights.toarray(), net.inputs.toarray()
    alpha = np.zeros(N) if net.tau_s is None else np.exp(-net.dt / net.tau_s)
    beta = np.exp(-net.dt / net.tau_m)
    V, current, S, wait = np.zeros(N), np.zeros(N), np.zeros(N), np.zeros(N)
    spikes, potentials = [], []
    for u in drive:
        current = alpha * current + W @ S
        H = beta * V + (1 - beta) * (current + net.bias + U @ u)
        H = np.where(wait > 0, V, H)
        S = ((net.threshold <= H) & (wait == 0)).astype(float)
        wait = np.where(S > 0, round(net.refractory / net.dt), np.maximum(wait - 1, 0))
        V = H - S * net.threshold if net.reset == "subtract" else H * (1 - S)
        spikes.append(S > 0)
        potentials.append(H)
    return np.array(spikes), np.array(potentials)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("refractory", [0.0, 2e-3])
@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_spikes_are_those_of_the_equations(
    engine: str, reset: str, refractory: float, synapses: str
) -> None:
    for seed in range(3):
        net = network(seed, reset=reset, refractory=refractory)
        if synapses == "jumps":
            net = replace(net, tau_s=None)
        drive = np.random.default_rng(seed).normal(0, 1, (100, 2, 3))
        done = simulate(net, drive, engine=engine, record=("potentials",))
        assert done.potentials is not None
        for b in range(2):
            spikes, potentials = dense_loop(net, drive[:, b])
            assert spikes.sum() > 80
            np.testing.assert_array_equal(done.raster()[:, b], spikes)
            np.testing.assert_allclose(done.potentials[:, b], potentials, atol=1e-12)


@pytest.mark.parametrize("reset", RESETS)
def test_both_engines_are_bit_equal(reset: str) -> None:
    net = network(1, N=100, reset=reset)
    drive = np.random.default_rng(1).normal(0, 1, (80, 4, 3))
    one, other = (
        simulate(net, drive, noise=0.3, seed=3, engine=e, record=("potentials", "currents"))
        for e in ENGINES
    )
    for name in ("steps", "samples", "neurons", "potentials", "currents"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("v", "i", "fired", "held"):
        np.testing.assert_array_equal(getattr(one.state, name), getattr(other.state, name))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_goes_on_from_its_state(engine: str) -> None:
    net = network(2)
    drive = np.random.default_rng(2).normal(0, 1, (60, 2, 3))
    whole = simulate(net, drive, engine=engine)
    first = simulate(net, drive[:25], engine=engine)
    before = first.state.copy()
    second = simulate(net, drive[25:], state=first.state, engine=engine)
    np.testing.assert_array_equal(np.concatenate([first.raster(), second.raster()]), whole.raster())
    np.testing.assert_array_equal(first.state.v, before.v)


@pytest.mark.parametrize("engine", ENGINES)
def test_chunks_change_nothing(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, T = network(3), 50
    whole = simulate(net, T=T, noise=0.5, seed=1, engine=engine, record=("currents",))
    monkeypatch.setattr("microglia.simulation.grid.CHUNK", 7 * len(net))
    parts = simulate(net, T=T, noise=0.5, seed=1, engine=engine, record=("currents",))
    np.testing.assert_array_equal(parts.raster(), whole.raster())
    np.testing.assert_array_equal(parts.currents, whole.currents)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_a_value_that_is_held_comes_in_at_each_step(
    engine: str, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, hold in ((5, 2), (6, 7), (7, 40)):
        net = network(seed)
        values = np.random.default_rng(seed).normal(0, 1, (9, 3, 3))
        settings: dict[str, Any] = {"noise": noise, "engine": engine, "record": ("potentials",)}
        wanted = simulate(net, np.repeat(values, hold, axis=0), **settings)
        # In chunks of one value, of a few, and all at once.
        for chunk in (1, 3 * hold * 3 * len(net), 1 << 22):
            monkeypatch.setattr("microglia.simulation.grid.CHUNK", chunk)
            held = simulate(net, values, hold=hold, **settings)
            assert held.shape == wanted.shape
            for name in ("steps", "samples", "neurons", "potentials"):
                np.testing.assert_array_equal(getattr(held, name), getattr(wanted, name))
            np.testing.assert_array_equal(held.state.v, wanted.state.v)


def test_without_numba_the_plain_path_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(4)
    there = simulate(net, T=50)
    monkeypatch.setitem(__import__("sys").modules, "microglia.simulation.numba", None)
    monkeypatch.delattr("microglia.simulation.numba", raising=False)
    np.testing.assert_array_equal(simulate(net, T=50).raster(), there.raster())
    with pytest.raises(ConfigError, match="not installed"):
        simulate(net, T=50, engine="numba")


def test_one_sample_is_itself_in_a_batch() -> None:
    net = network(5)
    drive = np.random.default_rng(5).normal(0, 1, (40, 3, 3))
    batch = simulate(net, drive)
    alone = simulate(net, drive[:, 1])
    assert alone.raster().shape == (40, 40)
    np.testing.assert_array_equal(batch.raster()[:, 1], alone.raster())
    np.testing.assert_array_equal(batch.counts()[1], alone.raster().sum(0))


def test_noise_is_that_of_its_seed_and_as_wide_as_asked() -> None:
    quiet = RecurrentNetwork(
        weights=sparse.csr_array((400, 400)), tau_m=np.full(400, 5e-3), tau_s=None, bias=None
    )
    runs = [simulate(quiet, T=200, noise=1e-3, seed=s, record=("potentials",)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0].potentials, runs[1].potentials)
    assert not np.array_equal(runs[0].potentials, runs[2].potentials)
    beta = np.exp(-1e-3 / 5e-3)
    h = runs[0].potentials
    assert h is not None
    np.testing.assert_allclose((h[1:] - beta * h[:-1]).std() / (1 - beta), 1e-3, rtol=0.02)


def test_filter_and_synaptic_operations_by_hand() -> None:
    net = network(6)
    done = simulate(net, np.random.default_rng(6).normal(0, 1, (30, 2, 3)))
    spikes, trace = done.raster(), np.zeros((2, 40))
    filtered, third = done.filtered(0.02, dt=1e-3), done.filtered(0.02, dt=1e-3, every=7)
    assert third.shape == (4, 2, 40)
    for t in range(30):
        trace = np.exp(-1e-3 / 0.02) * trace + spikes[t]
        np.testing.assert_allclose(filtered[t], trace, atol=1e-12)
        if t % 7 == 6:
            np.testing.assert_allclose(third[t // 7], trace, atol=1e-12)
    out = (net.weights.toarray() != 0).sum(0)
    assert done.synops(net.weights) == (spikes * out).sum()
    for times in ({"tau": 0.0, "dt": 1e-3}, {"tau": 0.1, "dt": 0.0}, {"tau": "0.1", "dt": 1e-3}):
        with pytest.raises(ConfigError, match="tau, dt"):
            done.filtered(**times)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="every"):
        done.filtered(0.1, dt=1e-3, every=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give a drive"),
        ({"drive": np.zeros((5, 4))}, r"wanted \[T, 3\]"),
        ({"drive": np.full((5, 3), np.nan)}, "finite"),
        ({"drive": np.zeros((5, 3)), "T": 6}, "has 5 steps"),
        ({"drive": np.zeros((5, 3)), "T": 5, "hold": 2}, "has 10 steps"),
        ({"drive": np.zeros((5, 3)), "hold": 0}, "hold: a whole number"),
        ({"T": 5, "hold": 2}, "no drive to be held"),
        ({"T": 0}, "at least one step"),
        ({"T": 5, "noise": -1.0}, "noise"),
        ({"T": 5, "record": ("spikes",)}, "record"),
        ({"T": 5, "engine": "cuda"}, "engine"),
    ],
)
def test_bad_input_is_said_in_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(network(), **settings)


def test_a_drive_without_inputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="no inputs"):
        simulate(network(inputs=None), np.zeros((5, 3)))
