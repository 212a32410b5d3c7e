"""Networks that learn: through time, and by the timing of spikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reservoirs import network

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.simulation import simulate
from microglia.tasks import Labelled, Part
from microglia.tasks.by_timing import learn_by_timing
from microglia.tasks.kinds import Classification, Forecasting, Horizons
from microglia.tasks.reservoir import Timing, fed
from microglia.tasks.teach import Learning, teach
from microglia.tasks.through_time import Reading, ThroughTime, learn_labels, learn_next
from microglia.training.pair_stdp import PairSTDPConfig

TIMING = Timing(hold=0.004)


def labelled(seed: int) -> Labelled:
    """The sign of a product: no linear readout of the input tells it."""

    def part(n: int) -> Part:
        rng = np.random.default_rng([seed, n])
        values = np.zeros((n, 6, 2))
        signs = rng.choice([-1.0, 1.0], (n, 2))
        values[:, 1:] = 2 * signs[:, None] + rng.normal(0, 0.2, (n, 5, 2))
        lengths = rng.integers(4, 7, n)
        return Part(values, lengths, (signs.prod(1) > 0).astype(int))

    return Labelled(part(120), part(60), part(90), 2)


def wave(points: int = 600) -> np.ndarray:
    t = np.arange(points)
    return np.stack([np.sin(0.3 * t), np.cos(0.1 * t)], axis=1)


def same(a: RecurrentNetwork, b: RecurrentNetwork) -> bool:
    return (
        np.array_equal(a.weights.data, b.weights.data)
        and np.array_equal(a.inputs.data, b.inputs.data)  # type: ignore[union-attr]
        and np.array_equal(a.bias, b.bias)  # type: ignore[arg-type]
    )


def same_pattern(a: RecurrentNetwork, b: RecurrentNetwork) -> bool:
    return np.array_equal(a.weights.indices, b.weights.indices) and np.array_equal(
        a.weights.indptr, b.weights.indptr
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_through_time_a_network_learns_what_readouts_of_it_could_not(seed: int) -> None:
    data = labelled(seed)
    before = fed(network(seed, neurons=12), 2, scale=0.5, seed=seed)
    config = ThroughTime(epochs=10, batch_size=30, rate=0.2)
    after = learn_labels(before, data, TIMING, config=config, seed=seed)
    task = Classification(data=lambda: data, timing=TIMING, scale=None)
    scores = [task(net, seed, True)["accuracy"] for net in (before, after)]
    assert scores[1] > max(0.95, scores[0])
    assert same_pattern(before, after)
    assert np.allclose(before.tau_m, after.tau_m, rtol=1e-6)
    assert not np.allclose(before.weights.data, after.weights.data)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_series_is_learnt(seed: int) -> None:
    x = wave()
    task = Forecasting(
        series=lambda _: x, lyapunov_points=5.0, timing=Timing(hold=0.004, tau=0.02), scale=None
    )
    before = fed(network(seed), 2, scale=0.5, seed=seed)
    config = ThroughTime(epochs=16, window=10, streams=8, rate=0.03)
    after = learn_next(before, task.training(seed), task.timing, config=config, seed=seed)
    assert task(after, seed, True)["nrmse"] < task(before, seed, True)["nrmse"]
    assert same_pattern(before, after)


@pytest.mark.parametrize("rule", ["through time", "timing", "timing, heterogeneous"])
def test_the_seed_alone_decides(rule: str) -> None:
    data = labelled(0)
    task = Classification(data=lambda: data, timing=TIMING)
    net = fed(network(0), 2)
    learning = Learning(rule=rule, through_time=ThroughTime(epochs=1))  # type: ignore[arg-type]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = teach(net, task, learning, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same(first, teach(net, task, learning, seed=3))
    if rule != "timing":  # which draws nothing
        assert not same(first, teach(net, task, learning, seed=4))
    assert not same(first, net)
    assert teach(net, task, Learning(rule="none")) is net


@pytest.mark.parametrize("seed", [0, 1])
def test_windows_one_after_the_other_are_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = fed(network(seed), 2, seed=seed)
    reading = Reading(net, rng.standard_normal((62, 3)), np.zeros(3), TIMING, dampening=0.3)
    values = torch.as_tensor(rng.standard_normal((9, 4, 2)), dtype=torch.float32)
    reading.rest()
    whole = reading(values)
    reading.rest()
    parts = []
    for window in values.split(3):
        reading.go_on()
        parts.append(reading(window))
        parts[-1].sum().backward()  # of this window alone: the graph of the one before is freed
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_timing_shares_out_what_each_neuron_hears(seed: int) -> None:
    net = fed(network(seed), 2, seed=seed)
    batches = [np.random.default_rng(seed).standard_normal((20, 8, 2)) for _ in range(2)]
    config = PairSTDPConfig(potentiation=0.05, depression=0.05, tau_plus=20.0, tau_minus=20.0)
    after = learn_by_timing(net, batches, Timing(hold=0.01), config=config)
    before_w, after_w = net.weights.toarray(), after.weights.toarray()
    assert same_pattern(net, after)
    assert np.array_equal(before_w[before_w < 0], after_w[before_w < 0])
    excitatory = before_w > 0
    changed = np.abs(np.where(excitatory, after_w - before_w, 0.0)).max()
    assert changed > 1e-4
    sums = [np.where(excitatory, w, 0.0).sum(1) for w in (before_w, after_w)]
    assert np.allclose(*sums, rtol=1e-12)


def test_timing_prefers_what_came_just_before() -> None:
    """Of neurons that one hears, equally strong, the one that fires before it gains; one that fires
    with it is heard a step later, and loses."""
    from scipy import sparse

    weights = np.zeros((4, 4))
    weights[3, :3] = 0.3  # too weak to make it fire
    net = RecurrentNetwork(
        weights=sparse.csr_array(weights),
        tau_m=np.full(4, 0.02),
        tau_s=None,
        inputs=sparse.csr_array(40.0 * np.eye(4)),
    )
    drive = np.zeros((40, 1, 4))
    for neuron, step in enumerate((5, 11, 8, 8)):  # before, after, with it, itself
        drive[step::20, 0, neuron] = 1.0
    assert simulate(net, drive).raster().sum() == 8
    config = PairSTDPConfig(potentiation=0.1, depression=0.1, tau_plus=5.0, tau_minus=5.0)
    after = learn_by_timing(net, [drive], Timing(hold=1e-3), config=config).weights.toarray()
    assert after[3, 0] > 0.3 > max(after[3, 1], after[3, 2])
    assert after[3].sum() == pytest.approx(0.9)


@pytest.mark.parametrize("seed", [0, 1])
def test_rates_are_of_the_training_part_alone(seed: int) -> None:
    net, data, x = network(seed), labelled(seed), wave()
    wild = replace(data.test, values=100 * data.test.values)
    other = x.copy()
    other[500:] = -3 * x[500:]
    pairs = [
        (
            Classification(data=lambda: data, timing=TIMING),
            Classification(data=lambda: replace(data, test=wild), timing=TIMING),
        ),
        tuple(
            Forecasting(series=lambda _, y=y: y, lyapunov_points=5, timing=TIMING)  # type: ignore[misc]
            for y in (x, other)
        ),
        tuple(
            Horizons(series=lambda y=y: y, horizons=(1,), timing=TIMING, changes=changes)  # type: ignore[misc]
            for y, changes in ((x, True), (other, True))
        ),
    ]
    for mine, theirs in pairs:
        rates = mine.rates(net, seed)
        assert rates.shape == (60,)
        assert rates.max() > 0
        assert np.array_equal(rates, theirs.rates(net, seed))
    # Counted once more, by hand.
    task = pairs[0][0]
    driven = fed(net, 2, seed=seed)
    spikes, steps = np.zeros(60), 0
    for values, length in zip(data.train.values, data.train.lengths, strict=True):
        # Presented with others, to the end of the longest of them.
        del length
        run = simulate(driven, np.repeat(values[:6], 4, axis=0))
        spikes, steps = spikes + run.counts(), steps + 24
    assert np.allclose(task.rates(net, seed), spikes / (steps * net.dt))


def test_inputs_of_ones_own_are_kept() -> None:
    net = fed(network(0), 2, seed=5)
    assert fed(net, 2, scale=None, seed=6) is net
    with pytest.raises(ConfigError, match="hears 2 channels, the task has 3"):
        fed(net, 3, scale=None)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dampening": -1.0}, "dampening"),
        ({"epochs": 0}, "epochs"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"window": 0}, "window"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ThroughTime(**settings)  # type: ignore[arg-type]


def test_what_cannot_be_learnt_from_is_said() -> None:
    with pytest.raises(ConfigError, match="the series has 100 points"):
        learn_next(fed(network(0), 2), wave(100), TIMING, config=ThroughTime())
    with pytest.raises(ConfigError, match="'tming' is unknown"):
        Learning(rule="tming")  # type: ignore[arg-type]
