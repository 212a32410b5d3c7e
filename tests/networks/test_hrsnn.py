"""Heterogeneous recurrent networks: what is drawn, how they fire, how they learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from spikingjelly.activation_based import surrogate
from torch import Tensor, nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork, recurrent_network
from microglia.lyapunov import LNPConfig, prune_recurrent
from microglia.lyapunov.noise import smooth_noise
from microglia.networks import (
    CHRSNN,
    HRSNN,
    CHRSNNConfig,
    Distance,
    Gamma,
    HRSNNConfig,
    SmallWorld,
    SpikeReadout,
    filtered,
)
from microglia.networks.synapses import Synapses
from microglia.networks.wiring import long_range
from microglia.simulation import simulate

SMALL = HRSNNConfig(neurons=80, inputs=3, wiring=SmallWorld(12), weight=0.5, fed=0.5, bias=1.0)
CONFIGS = {
    "small world": SMALL,
    "distance": replace(SMALL, wiring=Distance(), tau_s=Gamma(5e-3, 3.0)),
    "homogeneous": replace(SMALL, tau_m=Gamma(20e-3), tau_s=None),
    "subtract": replace(SMALL, reset="subtract", refractory=0.0),
}
CLUSTERS = CHRSNNConfig(
    clusters=(
        replace(SMALL, neurons=60, tau_m=Gamma(40e-3, 5.0)),
        replace(SMALL, neurons=40, tau_m=Gamma(10e-3, 5.0), fed=0.0),
        replace(SMALL, neurons=50, tau_m=Gamma(5e-3), fed=0.0, inhibitory=0.5),
    ),
    long_range=0.1,
)
each = pytest.mark.parametrize("name", [*CONFIGS, "clusters"])


def drawn(name: str, seed: int) -> HRSNN:
    if name == "clusters":
        return CHRSNN(CLUSTERS, seed=seed, dtype=torch.float64)
    return HRSNN(CONFIGS[name], seed=seed, dtype=torch.float64)


def drive(seed: int, *, T: int = 100, B: int = 2, K: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, K, dtype=torch.float64, generator=generator) * 2


def dense_loop(module: HRSNN, x_seq: Tensor, W: Tensor, U: Tensor) -> Tensor:
    """The same equations with dense matrices, written apart from `HRSNN`."""
    net = module.recurrent_network()
    beta = torch.as_tensor(np.exp(-net.dt / net.tau_m))
    alpha = torch.as_tensor(0.0 if net.tau_s is None else np.exp(-net.dt / net.tau_s))
    theta, wait = torch.as_tensor(net.threshold), round(net.refractory / net.dt)
    step = surrogate.ATan(alpha=4.0)
    v = i = s = torch.zeros(x_seq.shape[1], len(net), dtype=torch.float64)
    last, out = torch.full_like(v, -100.0), []
    for t, x in enumerate(x_seq):
        i = alpha * i + s @ W.T
        h = beta * v + (1 - beta) * (i + x @ U.T + module.bias)
        awake = t - last > wait
        h = torch.where(awake, h, v)
        s = step(h - theta) * awake
        fired = s.detach()
        last = torch.where(fired > 0, float(t), last)
        v = h - fired * theta if net.reset == "subtract" else h * (1 - fired)
        out.append(s)
    return torch.stack(out)


@each
def test_spikes_are_those_of_the_simulation_and_of_a_dense_loop(name: str) -> None:
    for seed in range(3):
        module, x = drawn(name, seed), drive(seed)
        net = module.recurrent_network()
        with torch.no_grad():
            spikes = module(x)
            W, U = (torch.as_tensor(m.toarray()) for m in (net.weights, net.inputs))
            dense = dense_loop(module, x, W, U)
        assert spikes.sum() > 150
        assert torch.equal(spikes, dense)
        np.testing.assert_array_equal(simulate(net, x.numpy()).raster(), spikes.bool().numpy())


@each
@pytest.mark.parametrize("small", [0, 1 << 18])
def test_gradients_are_the_dense_ones_on_the_synapses(
    name: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microglia.networks.synapses.SMALL", small)
    for seed in range(2):
        module, x = drawn(name, seed), drive(seed, T=30).requires_grad_()
        net = module.recurrent_network()
        W, U = (torch.as_tensor(m.toarray()).requires_grad_() for m in (net.weights, net.inputs))
        generator = torch.Generator().manual_seed(seed)
        asked = torch.randn(30, 2, len(net), dtype=torch.float64, generator=generator)
        (module(x) * asked).sum().backward()
        found = [module.recurrent.values.grad, module.inputs.values.grad, x.grad, module.bias.grad]
        x.grad = module.bias.grad = None
        (dense_loop(module, x, W, U) * asked).sum().backward()
        of_W, of_U = (
            m.grad[tuple(torch.as_tensor(axis).long() for axis in pattern.tocoo().coords)]
            for m, pattern in ((W, net.weights), (U, net.inputs))
        )
        for one, other in zip(found, (of_W, of_U, x.grad, module.bias.grad), strict=True):
            assert one.abs().max() > 1e-3
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_gradients_of_synapses_against_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((7, 5), density=0.4, rng=rng, format="csr")
    synapses = Synapses(matrix, dtype=torch.float64)
    x = torch.as_tensor(rng.normal(size=(2, 3, 5))).requires_grad_()
    torch.testing.assert_close(synapses(x), x @ torch.as_tensor(matrix.toarray()).T)

    def of(x: Tensor, values: Tensor) -> Tensor:
        return torch.func.functional_call(synapses, {"values": values}, (x,))

    for small, chunk in ((0, 1 << 22), (0, 20), (35, 20)):  # 35 = 7 · 5
        monkeypatch.setattr("microglia.networks.synapses.SMALL", small)
        monkeypatch.setattr("microglia.networks.synapses.CHUNK", chunk)
        assert torch.autograd.gradcheck(of, (x, synapses.values))


@each
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    one = drawn(name, 5).state_dict()
    torch.manual_seed(2)
    np.random.seed(2)
    other, third = drawn(name, 5).state_dict(), drawn(name, 6).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["recurrent.pre"], third["recurrent.pre"])


@each
def test_a_network_and_its_module_are_each_others_copies(name: str) -> None:
    module = drawn(name, 0)
    net = module.recurrent_network()
    again = HRSNN.from_recurrent_network(net, dtype=torch.float64)
    for key, value in again.state_dict().items():
        assert torch.equal(value, module.state_dict()[key]), key
    found = recurrent_network(nn.Sequential(again))
    for field in ("tau_m", "tau_s", "bias", "threshold", "inhibitory"):
        np.testing.assert_array_equal(getattr(found, field), getattr(net, field))
    for field in ("weights", "inputs"):
        one, other = getattr(found, field), getattr(net, field)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    for field in ("reset", "refractory", "dt"):
        assert getattr(found, field) == getattr(net, field)
    net.weights.data[:] = 0
    assert module.recurrent.values.abs().min() > 0


def test_a_part_of_a_network_is_a_module_too() -> None:
    net = drawn("small world", 0).recurrent_network()
    part = HRSNN.from_recurrent_network(net.of(np.arange(0, 80, 2)), dtype=torch.float64)
    np.testing.assert_array_equal(
        part.recurrent_network().weights.toarray(), net.weights.toarray()[::2, ::2]
    )
    assert part(drive(0)).shape == (100, 2, 40)


def test_a_state_dict_brings_its_pattern_along() -> None:
    one, other = drawn("small world", 0), drawn("small world", 1)
    other.load_state_dict(one.state_dict())
    asked = drive(3, K=80)[:30]
    x = drive(0, T=30)
    for module in (one, other):
        (module(x) * asked).sum().backward()
    torch.testing.assert_close(one.recurrent.values.grad, other.recurrent.values.grad)


def test_single_steps_are_the_many_and_reset_begins_anew() -> None:
    module, x = drawn("small world", 0), drive(0)
    with torch.no_grad():
        whole = module(x)
        mg.reset(module)
        first = module(x[:40])
        module.step_mode = "s"
        rest = torch.stack([module(step) for step in x[40:]])
        assert torch.equal(torch.cat([first, rest]), whole)
        with pytest.raises(ConfigError, match="reset"):
            module(x[0, :1])
        mg.reset(module)
        assert module(x[0, :1]).shape == (1, 80)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_nobody_fires_within_the_refractory_time(steps: int) -> None:
    config = replace(SMALL, refractory=steps * 1e-3, bias=50.0)
    spikes = HRSNN(config)(drive(0).float()).bool()
    for gap in range(1, steps + 1):
        assert not (spikes[gap:] & spikes[:-gap]).any()
    assert (spikes[steps + 1 :] & spikes[: -steps - 1]).any()


def test_it_learns_along_its_synapses_alone() -> None:
    """Which of two channels is driven, from spike counts and from filtered spikes."""
    for tau in (None, 20e-3):
        torch.manual_seed(0)
        recurrent = HRSNN(replace(SMALL, inputs=2), seed=0)
        model = nn.Sequential(recurrent, SpikeReadout(80, 2, tau=tau))
        labels = torch.arange(16) % 2
        x = 1.5 * torch.nn.functional.one_hot(labels, 2).float().expand(25, -1, -1)
        x = x + 0.5 * torch.randn(25, 16, 2)
        before, pattern = recurrent.recurrent.values.clone(), recurrent.recurrent.pre.clone()
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        losses = []
        for _ in range(15):
            mg.reset(model)
            loss = nn.functional.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.6 * losses[0]
        assert (recurrent.recurrent.values != before).float().mean() > 0.5
        assert torch.equal(recurrent.recurrent.pre, pattern)


def test_filtered_spikes_are_those_of_the_simulation() -> None:
    module, x = drawn("small world", 0), drive(0)
    with torch.no_grad():
        features = filtered(module(x), 30e-3, dt=1e-3)
    wanted = simulate(module.recurrent_network(), x.numpy()).filtered(30e-3, dt=1e-3)
    np.testing.assert_allclose(features.numpy(), wanted, atol=1e-12)


def test_time_constants_are_gamma_distributed() -> None:
    config = HRSNNConfig(neurons=20000, wiring=SmallWorld(1), tau_s=Gamma(5e-3, 4.0))
    net = config.draw(0)
    for tau, mean, shape in ((net.tau_m, 20e-3, 3.0), (net.tau_s, 5e-3, 4.0)):
        assert tau is not None
        np.testing.assert_allclose(tau.mean(), mean, rtol=0.02)
        np.testing.assert_allclose(tau.var(), mean**2 / shape, rtol=0.05)
        skewness = ((tau - tau.mean()) ** 3).mean() / tau.std() ** 3
        np.testing.assert_allclose(skewness, 2 / shape**0.5, rtol=0.1)
    assert (replace(config, tau_m=Gamma(7e-3)).draw(0).tau_m == 7e-3).all()


@each
def test_neurons_excite_or_inhibit_never_both(name: str) -> None:
    net = drawn(name, 0).recurrent_network()
    signs = np.sign(net.weights.toarray())
    assert (signs[:, net.inhibitory] <= 0).all()
    assert (signs[:, ~net.inhibitory] >= 0).all()
    assert net.inhibitory.sum() == (16 if name != "clusters" else 12 + 8 + 25)


def test_the_defaults_are_the_operating_point() -> None:
    net = HRSNNConfig().draw(0)
    W = net.weights
    assert W.shape == (800, 800)
    assert (np.diff(W.indptr) == 100).all()
    assert net.inhibitory.sum() == 160
    assert (np.diff(net.inputs.indptr) > 0).sum() == 120
    inhibits = net.inhibitory[W.indices]
    np.testing.assert_allclose(W.data[~inhibits].mean(), 0.06, rtol=0.03)
    np.testing.assert_allclose(W.data[inhibits].mean(), -0.24, rtol=0.03)
    np.testing.assert_allclose(np.log(np.abs(W.data[inhibits])).std(), 0.8, rtol=0.03)
    drive = smooth_noise(4, duration=4.0, dt=net.dt, generator=np.random.default_rng(0))
    assert 15 < simulate(net, drive).counts().mean() / 4 < 40


@pytest.mark.parametrize(("N", "K", "rewiring"), [(50, 7, 0.0), (200, 20, 0.3), (30, 29, 0.5)])
def test_small_worlds(N: int, K: int, rewiring: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        post, pre = SmallWorld(K, rewiring).draw(np.zeros(N, dtype=bool), rng)
        assert (np.bincount(post) == K).all()
        assert (post != pre).all()
        assert len(np.unique(post * N + pre)) == len(post)
        far = np.minimum((post - pre) % N, (pre - post) % N) > (K + 1) // 2
        outside = 1 - min(1.0, (K + 1) / N)
        # What moves lands outside the neighbourhood as often as it covers the ring.
        assert abs(far.mean() - rewiring * outside) < 0.04


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rewired_synapses_come_from_anywhere_on_the_ring(seed: int) -> None:
    N, K = 400, 20
    post, pre = SmallWorld(K, 0.5).draw(np.zeros(N, dtype=bool), np.random.default_rng(seed))
    around = (pre - post) % N
    far = around[np.minimum(around, N - around) > (K + 1) // 2]
    tenths = np.histogram(far, bins=np.linspace(K // 2 + 1, N - K // 2, 11))[0] / len(far)
    assert np.abs(tenths - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / len(far))


def test_near_neurons_are_joined_as_often_as_the_rule_says() -> None:
    N, wiring = 1000, Distance(reach=2.0)
    inhibitory = np.random.default_rng(0).random(N) < 0.3
    where = wiring.positions(N)
    D = np.linalg.norm(where[:, None] - where[None], axis=-1)
    joined = np.zeros((N, N))
    for seed in range(4):
        post, pre = wiring.draw(inhibitory, np.random.default_rng(seed))
        assert (post != pre).all()
        joined[post, pre] += 0.25
    np.fill_diagonal(D, np.inf)
    for (j, i), C in {(0, 0): 0.3, (0, 1): 0.2, (1, 0): 0.4, (1, 1): 0.1}.items():
        pairs = (inhibitory == i)[:, None] & (inhibitory == j)[None]
        for low, high in ((0, 1.1), (1.1, 2.1), (2.1, 4)):
            ring = pairs & (low < D) & (high >= D)
            wanted = (C * np.exp(-((D[ring] / 2) ** 2))).mean()
            np.testing.assert_allclose(joined[ring].mean(), wanted, rtol=0.15)


def test_clusters_have_their_own_time_constants_and_few_synapses_between() -> None:
    module = CHRSNN(CLUSTERS, seed=0)
    net, cluster = module.recurrent_network(), module.cluster.numpy()
    np.testing.assert_array_equal(np.bincount(cluster), [60, 40, 50])
    W = net.weights.tocoo()
    post, pre = W.coords
    between = cluster[post] != cluster[pre]
    np.testing.assert_allclose(between.mean(), 0.1, atol=1e-3)
    assert {(a, b) for a, b in zip(cluster[post], cluster[pre], strict=True)} == {
        (a, b) for a in range(3) for b in range(3)
    }
    for k, config in enumerate(CLUSTERS.clusters):
        np.testing.assert_allclose(net.tau_m[cluster == k].mean(), config.tau_m.mean, rtol=0.3)
    fed = np.diff(net.inputs.indptr) > 0
    assert fed.sum() == 30
    assert (cluster[fed] == 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_synapse_is_as_its_own_neurons_cluster_says(seed: int) -> None:
    """Between clusters too; fractions of neurons are the nearest whole numbers."""
    strengths, biases = (0.1, 0.2, 0.4), (0.0, 0.5, -0.5)
    clusters = tuple(
        HRSNNConfig(neurons=29, wiring=SmallWorld(6), inhibitory=0.3, weight=w, sigma=0.0, bias=b)
        for w, b in zip(strengths, biases, strict=True)
    )
    config = CHRSNNConfig(clusters=clusters, long_range=0.3)
    net = config.draw(seed)
    assert net.inhibitory is not None
    W = net.weights.tocoo()
    _, pre = W.coords
    size = np.array(strengths)[config.cluster[pre]] * np.where(net.inhibitory[pre], -4.0, 1.0)
    np.testing.assert_allclose(W.data, size)
    np.testing.assert_array_equal(net.bias, np.array(biases)[config.cluster])
    np.testing.assert_array_equal(np.bincount(config.cluster, net.inhibitory), 9)  # of 8.7


def test_long_synapses_are_all_different() -> None:
    cluster = np.repeat([0, 1, 2], [3, 4, 5])
    post, pre = long_range(cluster, 94, np.random.default_rng(0))
    assert len(np.unique(post * 12 + pre)) == 94 == 144 - 9 - 16 - 25
    assert (cluster[post] != cluster[pre]).all()
    with pytest.raises(ConfigError, match="94 pairs"):
        long_range(cluster, 95, np.random.default_rng(0))


def test_nothing_is_as_large_as_a_dense_matrix() -> None:
    """20,000 neurons, 40,000 synapses: a dense matrix would be 1.6 GB."""
    module = HRSNN(HRSNNConfig(neurons=20000, wiring=SmallWorld(2)))
    largest: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = f(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.layout == torch.strided:
                largest.append(out.numel())
            return out

    with Watch():
        module(torch.randn(3, 2, 4)).sum().backward()
    assert 40_000 <= max(largest) <= 3 * 2 * 20_000


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gamma(0.0), "mean"),
        (lambda: Gamma(1.0, -1.0), "shape"),
        (lambda: SmallWorld(0), "neighbours"),
        (lambda: SmallWorld(5, 1.5), "rewiring"),
        (lambda: Distance(reach=0.0), "reach"),
        (lambda: Distance(ee=2.0), "ee"),
        (lambda: HRSNNConfig(neurons=0), "neurons"),
        (lambda: HRSNNConfig(neurons=True), "neurons: a whole number.* got True"),
        (lambda: HRSNNConfig(inputs=4.0), "inputs: a whole number.* got 4.0"),
        (lambda: HRSNNConfig(fed="0.5"), "fed: a fraction expected, got '0.5'"),
        (lambda: HRSNNConfig(weight="0.1"), "weight"),
        (lambda: HRSNNConfig(bias=None), "bias"),
        (lambda: HRSNNConfig(dt="1 ms"), "dt"),
        (lambda: HRSNNConfig(wiring=12), "wiring"),
        (lambda: HRSNNConfig(tau_m=0.02), "tau_m, tau_s: Gamma"),
        (lambda: HRSNNConfig(tau_s=0.02), "tau_m, tau_s: Gamma"),
        (lambda: Gamma("20 ms"), "mean"),
        (lambda: Gamma(None), "mean"),
        (lambda: Gamma(0.02, True), "shape"),
        (lambda: SmallWorld(5.5), "neighbours"),
        (lambda: SmallWorld(True), "neighbours"),
        (lambda: SmallWorld(5, "half"), "rewiring"),
        (lambda: Distance(reach="far"), "reach"),
        (lambda: Distance(reach=float("inf")), "reach"),
        (lambda: Distance(ii=None), "ii"),
        (lambda: CHRSNNConfig(clusters=(SMALL, SMALL), long_range="0.1"), "long_range"),
        (lambda: HRSNNConfig(inhibitory=1.2), "inhibitory"),
        (lambda: HRSNNConfig(weight=-1.0), "weight"),
        (lambda: HRSNNConfig(bias=float("nan")), "bias"),
        (lambda: HRSNNConfig(dt=0.0), "dt"),
        (lambda: HRSNNConfig(reset="none"), "reset"),
        (lambda: HRSNNConfig(neurons=50).draw(), "less than the 50 neurons"),
        (lambda: HRSNNConfig(neurons=50, wiring=Distance(sides=(3, 3, 3))).draw(), "no room"),
        (lambda: CHRSNNConfig(clusters=(SMALL,)), "at least 2"),
        (lambda: CHRSNNConfig(clusters=(SMALL, SMALL), long_range=1.0), "long_range"),
        (lambda: CHRSNNConfig(clusters=(SMALL, replace(SMALL, inputs=1))), "inputs"),
        (lambda: CHRSNNConfig(clusters=(SMALL, replace(SMALL, tau_s=None))), "tau_s"),
        (lambda: HRSNN(replace(SMALL, wiring=Distance(1, 0, 0, 0, 0))), "no recurrent synapses"),
        (lambda: HRSNN(SMALL)(torch.zeros(5, 2, 4)), r"\[T, N, 3\]"),
        (lambda: filtered(torch.zeros(3, 2, 4), 0.0, dt=1e-3), "tau, dt: .* above 0"),
        (lambda: filtered(torch.zeros(3, 2, 4), "0.1", dt=1e-3), "tau, dt"),
        (lambda: filtered(torch.zeros(3, 2, 4), 0.1, dt=float("nan")), "tau, dt"),
        (lambda: SpikeReadout(4, 2, tau=0.0), "tau, dt"),
        (lambda: SpikeReadout(4, 2, dt=0.0), "tau, dt"),
        (
            lambda: RecurrentNetwork(
                weights=sparse.csr_array((0, 0)), tau_m=np.ones(0), tau_s=None
            ),
            "at least one neuron",
        ),
        (
            lambda: RecurrentNetwork(
                weights=sparse.csr_array((2, 3)), tau_m=np.ones(2), tau_s=None
            ),
            "square",
        ),
        (
            lambda: RecurrentNetwork(
                weights=sparse.csr_array((2, 2)), tau_m=np.array([1.0, -1.0]), tau_s=None
            ),
            "neuron 1",
        ),
    ],
)
def test_bad_input_is_said_in_words(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("neurons", [0.0, 0.3])
def test_a_pruned_network_is_the_smaller_module(neurons: float) -> None:
    """Of the neurons that stay, with the synapses that stay times one gain."""
    config = HRSNNConfig(neurons=60, inputs=3, wiring=SmallWorld(neighbours=12), weight=0.2)
    net = HRSNN(config, seed=1, dtype=torch.float64)
    settings = LNPConfig(sparsity=0.75, neurons=neurons, calibrate="deviation")
    how = prune_recurrent(net, settings, seed=2)
    small = HRSNN(how.network, dtype=torch.float64)
    E = len(net.recurrent.values)
    assert len(small.recurrent.values) == round(0.25 * E)
    assert len(small.bias) == 60 - round(60 * neurons) == len(how.neurons)
    part = net.recurrent_network().of(how.neurons).weights.toarray()
    mine = small.recurrent.matrix().toarray()
    assert np.allclose(mine[mine != 0], how.gain * part[mine != 0])
    assert small(torch.rand(20, 2, 3, dtype=torch.float64)).sum() > 0
    again = prune_recurrent(net, settings, seed=2)
    assert np.array_equal(again.network.weights.data, how.network.weights.data)
