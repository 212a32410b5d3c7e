"""Lyapunov spectra: what theory says of them, on spiking and on smooth networks."""

from __future__ import annotations

import sys
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
from recurrent_networks import random_network
from scipy import sparse
from torch import nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import RateNetwork, SmoothMap, Spectrum, lyapunov_spectrum
from microglia.lyapunov.exact import ExactFlow
from microglia.lyapunov.smooth import RateFlow
from microglia.lyapunov.streams import Purpose, stream
from microglia.lyapunov.surrogate import GridFlow

SHORT: dict[str, Any] = {"warmup": 0.1, "transient": 0.1}


@pytest.mark.parametrize("refractory", [0.0, 0.002])
@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_uncoupled_neurons_that_fire_keep_their_phase(synapses: str, refractory: float) -> None:
    """λ = 0 for each phase; perturbations of currents that nobody feeds decay with τ_s."""
    for seed in range(2):
        network = random_network(6, seed=seed, gain=0.0, synapses=synapses, refractory=refractory)
        spectrum = lyapunov_spectrum(network, k=None, duration=6.0, seed=seed)
        assert np.abs(spectrum.exponents[:6]).max() < 0.5
        if network.tau_s is not None:
            decays = np.sort(-1 / network.tau_s)[::-1]
            np.testing.assert_allclose(np.sort(spectrum.exponents[6:])[::-1], decays, atol=1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_never_fires_adds_no_direction_in_time(seed: int) -> None:
    """Refractory neurons, half of them silent, for long: a zero for each that fires, and no more;
    the others at their leaks, in order."""
    N = 12
    bias = np.where(np.arange(N) < N // 2, 1.5, 0.5)
    net = RecurrentNetwork(
        weights=sparse.csr_array((N, N)),
        tau_m=np.linspace(0.01, 0.02, N),
        tau_s=np.full(N, 0.005),
        bias=bias,
        refractory=2e-3,
    )
    found = lyapunov_spectrum(net, k=2 * N, duration=10.0, seed=seed).exponents
    assert (np.abs(found) < 0.5).sum() == N // 2
    assert np.isfinite(found).all()
    assert (np.diff(found) < 1.0).all()
    leaks = np.sort(-1 / net.tau_m[N // 2 :])[::-1]
    assert np.allclose(found[N // 2 : N], leaks, rtol=0.02)


def test_a_spiking_network_in_continuous_time_keeps_its_phase_too() -> None:
    """Without input that changes, a shift along the trajectory neither grows nor decays."""
    for seed in range(3):
        network = random_network(12, seed=seed, gain=0.4, refractory=0.002)
        spectrum = lyapunov_spectrum(network, k=6, duration=4.0, seed=seed)
        assert np.abs(spectrum.exponents).min() < 0.5


@pytest.mark.parametrize("method", ["exact", "surrogate"])
def test_the_leading_exponents_are_the_first_of_the_spectrum(method: Any) -> None:
    network = random_network(8, refractory=0.002)
    whole = lyapunov_spectrum(network, k=None, duration=0.5, method=method, **SHORT)
    first = lyapunov_spectrum(network, k=5, duration=0.5, method=method, **SHORT)
    assert len(whole.exponents) == whole.dimension == 16
    np.testing.assert_allclose(first.exponents, whole.exponents[:5], atol=1e-6)
    np.testing.assert_allclose(first.errors, whole.errors[:5], atol=1e-6)
    assert first.rate == whole.rate
    assert 20 < float(first.rate or 0) < 200


def test_windows_agree_better_the_longer_they_are() -> None:
    network = random_network(20, gain=1.5, refractory=0.002)
    errors = [
        lyapunov_spectrum(network, k=5, duration=duration, **SHORT).errors.mean()
        for duration in (0.5, 8.0)
    ]
    assert 0 < errors[1] < 0.5 * errors[0]


def test_what_a_lifted_neuron_remembers_is_nothing() -> None:
    """Neuron 1 fires only when neuron 0 lifts it over its threshold, and is then set to zero."""
    network = mg.frameworks.recurrent.RecurrentNetwork(
        weights=sparse.csr_array(np.array([[0, 0], [60.0, 0]])),
        tau_m=np.full(2, 0.02),
        tau_s=None,
        bias=np.array([1.5, 0.5]),
    )
    spectrum = lyapunov_spectrum(network, k=None, duration=2.0)
    assert abs(spectrum.exponents[0]) < 0.5
    assert np.isneginf(spectrum.exponents[1])
    assert not np.isnan(spectrum.errors).any()
    assert spectrum.kaplan_yorke <= 1
    assert "nan" not in str(spectrum)


@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_the_surrogate_jacobian_is_the_one_described(synapses: str) -> None:
    """As a dense matrix, along the grid's own trajectory."""
    network = random_network(7, synapses=synapses, refractory=0.002, gain=2.0)
    flow = GridFlow(network, gamma=3.0)
    rng = np.random.default_rng(0)
    start = flow.tangent = flow.directions(4, rng)
    W, N, product = network.weights.toarray(), 7, np.eye(flow.dimension)
    beta = np.diag(np.exp(-network.dt / network.tau_m))
    for _ in range(40):
        G = np.diag(1 / (1 + 3.0 * np.abs(flow.H - flow.theta)) ** 2)
        if network.tau_s is None:
            J = beta + (np.eye(N) - beta) @ W @ G
        else:
            alpha = np.diag(np.exp(-network.dt / network.tau_s))
            J = np.block(
                [
                    [beta + (np.eye(N) - beta) @ W @ G, (np.eye(N) - beta) @ alpha],
                    [W @ G, alpha],
                ]
            )
        product = J @ product
        flow.advance(1)
    np.testing.assert_allclose(flow.tangent, product @ start, rtol=1e-9, atol=1e-12)
    assert flow.spikes > 0


def test_surrogate_exponents_depend_on_gamma_which_the_result_names() -> None:
    network = random_network(20, gain=2.0, refractory=0.002)
    steep, flat = (
        lyapunov_spectrum(network, k=2, duration=0.5, method="surrogate", gamma=gamma, **SHORT)
        for gamma in (20.0, 2.0)
    )
    assert flat.exponents[0] > steep.exponents[0] + 1
    assert (flat.gamma, steep.gamma) == (2.0, 20.0)
    assert "γ 20" in str(steep)


def test_units_without_coupling_decay_with_their_time_constants() -> None:
    tau = np.array([0.01, 0.02, 0.05, 0.1])
    network = RateNetwork(weights=np.zeros((4, 4)), tau=tau)
    spectrum = lyapunov_spectrum(network, duration=2.0, transient=2.0)
    np.testing.assert_allclose(spectrum.exponents, -1 / tau[::-1], rtol=1e-4)
    assert spectrum.rate is None
    assert spectrum.kaplan_yorke == 0
    assert spectrum.entropy_rate == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_network_has_the_real_parts_of_its_eigenvalues(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = 0.8 * rng.standard_normal((6, 6)) / np.sqrt(6)
    tau = rng.uniform(0.01, 0.03, 6)
    real = np.sort(np.linalg.eigvals((weights - np.eye(6)) / tau[:, None]).real)[::-1]
    matrix = sparse.csr_array(weights) if seed == 0 else weights
    network = RateNetwork(weights=matrix, tau=tau, phi="linear")
    spectrum = lyapunov_spectrum(network, duration=3.0, warmup=0.0, transient=1.0)
    np.testing.assert_allclose(spectrum.exponents, real, atol=0.5)


@pytest.mark.parametrize("phi", ["tanh", (np.sin, np.cos)])
def test_the_exponents_sum_to_the_mean_trace_of_the_jacobian(phi: Any) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        weights, tau = (
            2.5 * rng.standard_normal((10, 10)) / np.sqrt(10),
            rng.uniform(0.01, 0.02, 10),
        )
        network = RateNetwork(weights=weights, tau=tau, bias=rng.standard_normal(10) / 5, phi=phi)
        spectrum = lyapunov_spectrum(network, k=None, duration=1.0, warmup=0.1, transient=0.0)
        slope = np.cos if phi != "tanh" else (lambda x: 1 - np.tanh(x) ** 2)
        flow, traces = RateFlow(network), []
        flow.advance(100)
        for _ in range(1000):
            traces.append(((np.diagonal(weights) * slope(flow.x) - 1) / tau).sum())
            flow.advance(1)
        assert spectrum.exponents.sum() == pytest.approx(np.mean(traces), rel=2e-3)


def test_the_henon_map() -> None:
    """λ_1 = 0.419 (published), λ_1 + λ_2 = log 0.3 (its determinant), dimension 1.258."""
    henon = SmoothMap(
        step=lambda x: np.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]),
        jacobian=lambda x: np.array([[-2.8 * x[0], 1.0], [0.3, 0.0]]),
        start=np.array([0.1, 0.1]),
    )
    spectrum = lyapunov_spectrum(henon, duration=10_000, warmup=100, transient=100)
    assert spectrum.exponents[0] == pytest.approx(0.419, abs=0.01)
    assert spectrum.exponents.sum() == pytest.approx(np.log(0.3), abs=1e-9)
    assert spectrum.kaplan_yorke == pytest.approx(1.258, abs=0.01)
    assert spectrum.entropy_rate == spectrum.exponents[0]


def spectrum_of(*exponents: float, dimension: int = 9) -> Spectrum:
    return Spectrum(
        exponents=np.array(exponents),
        errors=np.zeros(len(exponents)),
        dimension=dimension,
        method="smooth",
        duration=1.0,
    )


def test_kaplan_and_yorkes_dimension() -> None:
    assert spectrum_of(2.0, 0.0, -1.0, -4.0).kaplan_yorke == 3.25
    assert spectrum_of(-1.0, -2.0).kaplan_yorke == 0
    assert spectrum_of(1.0, -1.0, dimension=2).kaplan_yorke == 2
    assert spectrum_of(1.0, -np.inf).kaplan_yorke == 1
    with pytest.raises(ConfigError, match="compute more of the 9"):
        _ = spectrum_of(2.0, 0.5).kaplan_yorke
    assert "above 2" in str(spectrum_of(2.0, 0.5))


def test_a_drive_moves_the_network_and_must_be_long_enough() -> None:
    inputs = sparse.csr_array(np.random.default_rng(0).standard_normal((8, 2)))
    network = random_network(8, inputs=inputs)
    drive = np.random.default_rng(1).standard_normal((700, 2)) / 5
    for method in ("exact", "surrogate"):
        settings = {"k": 2, "duration": 0.5, "method": method, **SHORT}
        driven = lyapunov_spectrum(network, drive=drive, **settings)
        alone = lyapunov_spectrum(network, **settings)
        assert not np.allclose(driven.exponents, alone.exponents)
        with pytest.raises(ConfigError, match="drive: wanted 700 steps"):
            lyapunov_spectrum(network, drive=drive[:699], **settings)
        with pytest.raises(ConfigError, match=r"drive: wanted \[T, 2\]"):
            lyapunov_spectrum(network, drive=drive[:, :1], **settings)


@pytest.mark.parametrize("method", ["exact", "surrogate"])
def test_silent_and_saturated_networks_have_no_exponents(method: Any) -> None:
    silent = random_network(5, gain=0.0)
    object.__setattr__(silent, "bias", np.full(5, 0.5))
    with pytest.raises(ConfigError, match="silent"):
        lyapunov_spectrum(silent, method=method, **SHORT)
    for refractory in (0.0, 0.005):
        mad = random_network(5, gain=0.0, refractory=refractory)
        object.__setattr__(mad, "bias", np.full(5, 1e4))
        with pytest.raises(ConfigError, match="saturated"):
            lyapunov_spectrum(mad, method=method, **SHORT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "approximate"}, "method"),
        ({"k": 0}, "k of at least 1"),
        ({"windows": 1}, "windows of at least 2"),
        ({"gamma": 0.0}, "gamma above 0"),
        ({"duration": 0.01}, "duration"),
        ({"warmup": -1.0}, "warmup"),
        ({"duration": float("nan")}, "duration"),
        ({"transient": float("inf")}, "transient"),
        ({"interval": -1.0}, "interval"),
    ],
)
def test_settings_out_of_range_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mg.lyapunov_spectrum(random_network(4), **settings)


def test_other_things_than_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match="got list"):
        lyapunov_spectrum([])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="put it into bias"):
        lyapunov_spectrum(RateNetwork(weights=np.zeros((2, 2))), drive=np.zeros((9, 1)))
    for wrong in ({"weights": np.zeros((2, 3))}, {"tau": -1.0}, {"tau": np.ones(3)}):
        with pytest.raises(ConfigError):
            RateNetwork(**{"weights": np.zeros((2, 2)), **wrong})
    with pytest.raises(ConfigError, match="at least one unit"):
        RateNetwork(weights=np.zeros((0, 0)))
    with pytest.raises(ConfigError, match="Did you mean 'tanh'"):
        RateNetwork(weights=np.zeros((2, 2)), phi="tan")
    exploding = RateNetwork(weights=np.full((2, 2), 40.0), phi="linear")
    with pytest.raises(ConfigError, match="beyond all bounds"):
        lyapunov_spectrum(exploding)


def test_a_missing_numba_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "microglia.lyapunov.events", raising=False)
    monkeypatch.setattr(mg.lyapunov, "events", None, raising=False)
    monkeypatch.delattr(mg.lyapunov, "events")
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ConfigError, match=r"microglia\[lyapunov\]"):
        lyapunov_spectrum(random_network(4))


def test_a_torch_module_is_asked_for_its_recurrent_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network, module = random_network(6), nn.Identity()
    asked: list[nn.Module] = []

    def recurrent_network(module: nn.Module, dt: float) -> Any:
        asked.append(module)
        return network

    monkeypatch.setattr(mg.frameworks, "recurrent_network", recurrent_network, raising=False)
    settings = {"k": 2, "duration": 0.3, **SHORT}
    through = lyapunov_spectrum(module, **settings)
    assert asked == [module]
    np.testing.assert_array_equal(
        through.exponents, lyapunov_spectrum(network, **settings).exponents
    )


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_seed_draws_states_and_directions_apart_from_the_network(seed: int) -> None:
    """A network drawn by `default_rng(seed)` has used these numbers for its weights."""
    network = random_network(200, seed=seed)
    rate = RateNetwork(weights=network.weights)
    grid = GridFlow(network, seed=seed)
    states = {
        "uniform": grid.V / network.threshold,
        "normal": RateFlow(rate, seed=seed).x,
        **{purpose: stream(seed, purpose).random(200) for purpose in get_args(Purpose)[1:]},
    }
    states["network's, uniform"] = np.random.default_rng(seed).random(200)
    states["network's, normal"] = np.random.default_rng(seed).standard_normal(200)
    for (a, x), (b, y) in combinations(states.items(), 2):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.35, (a, b)
    exact = ExactFlow(network, seed=seed)
    assert np.array_equal(exact.V, grid.V), "flows of one seed start alike"
