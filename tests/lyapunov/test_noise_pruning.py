"""The four steps in a row keep their budgets, and go on from any of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import (
    LNPConfig,
    Pruned,
    lyapunov_noise_pruning,
    prune_recurrent,
    sparsify,
)
from microglia.lyapunov.graph import same_synapses
from microglia.lyapunov.leak import LEAST, match_leak, with_leak
from microglia.lyapunov.linearisation import linearise
from microglia.networks import HRSNNConfig, SmallWorld

N, K = 100, 20


def network(seed: int, **settings: Any) -> RecurrentNetwork:
    wiring = SmallWorld(neighbours=K)
    return HRSNNConfig(**{"neurons": N, "wiring": wiring, "weight": 0.2} | settings).draw(seed)


def memory(net: RecurrentNetwork) -> float:
    """A metric that costs nothing, best at |w| as the dense network's."""
    return -abs(float(np.abs(net.weights.data).sum()) - 300.0)


def prune(net: RecurrentNetwork, seed: int = 0, **settings: Any) -> list[Pruned]:
    return list(lyapunov_noise_pruning(net, LNPConfig(**settings), seed=seed, metric=memory))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("neurons", [0.0, 0.3])
@pytest.mark.parametrize("rounds", [1, 3])
def test_exactly_what_was_asked_for_is_left(seed: int, neurons: float, rounds: int) -> None:
    net = network(seed)
    last = prune(net, seed, sparsity=0.8, neurons=neurons, rounds=rounds)[-1]
    assert len(last.network) == N - round(neurons * N) == len(last.neurons)
    assert last.network.weights.nnz == round(0.2 * net.weights.nnz)
    fed = np.flatnonzero(abs(net.inputs).sum(axis=1))  # type: ignore[arg-type]
    assert np.isin(fed, last.neurons).all()
    assert net.inhibitory is not None
    assert last.network.inhibitory is not None
    inhibit = round(float(net.inhibitory.mean()) * len(last.neurons))
    assert abs(int(last.network.inhibitory.sum()) - inhibit) <= rounds


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("neurons", [0.0, 0.3])
@pytest.mark.parametrize("rescale", ["none", "full"])
def test_rounds_are_single_draws_one_upon_another(
    seed: int, neurons: float, rescale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(seed)
    before, lefts = [], []

    def recorded(small: RecurrentNetwork, *args: Any, **budget: Any) -> sparsify.Left:
        lefts.append(draw(small, *args, **budget))
        before.append(small)
        return lefts[-1]

    draw = sparsify.draw
    monkeypatch.setattr(sparsify, "draw", recorded)
    config = LNPConfig(rounds=3, rescale=rescale)  # type: ignore[arg-type]
    E, last = net.weights.nnz, N - round(neurons * N)
    found = sparsify.draw_in_rounds(
        net,
        sparsify.worth(net, config, np.random.default_rng(seed)),
        config,
        seed=seed,
        synapses_left=E // 5,
        neurons_left=last,
        besides=sparse.csr_array((N, N)),
    )
    step = net
    for small, left in zip(before, lefts, strict=True):
        assert (small.weights != step.weights).nnz == 0
        step = left.of(step)
    whole = found.of(net)
    assert (len(lefts), len(whole), whole.weights.nnz) == (3, last, E // 5)
    assert np.allclose((whole.weights - step.weights).data, 0)
    assert np.array_equal(whole.tau_m, step.tau_m)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rescale", ["none", "full"])
@pytest.mark.parametrize("share", [0.7, 0.05])
def test_a_matched_leak_is_that_of_the_linear_network(
    seed: int, rescale: str, share: float
) -> None:
    net = network(seed, weight=1.0)
    config = LNPConfig(rescale=rescale)  # type: ignore[arg-type]
    generator = np.random.default_rng(seed)
    found = sparsify.worth(net, config, generator)
    stay = round(share * net.weights.nnz)
    left = sparsify.draw(net, found, config, generator, synapses_left=stay, neurons_left=N)
    matched = match_leak(net, found.linear, left.growth)
    kept = same_synapses(found.linear.effective, found.linear.entries * left.growth)
    wanted = with_leak(found.linear.A, kept, "matched").toarray()
    # At the same gains W_eff grows with the rows of W, and A is what that is divided by.
    slower = sparse.diags_array(matched.tau_m / net.tau_m)
    A = sparse.diags_array(1 / matched.tau_m) @ slower @ sparse.diags_array(net.tau_m) @ kept
    A = A.toarray() - np.diag(1 / matched.tau_m)
    bounded = -wanted.diagonal() < LEAST / net.tau_m
    assert np.allclose(A[~bounded], wanted[~bounded])
    assert np.allclose(matched.tau_m[bounded], net.tau_m[bounded] / LEAST)
    assert not bounded.all()
    assert bounded.any() or share > 0.5
    for name in ("weights", "inputs"):
        assert np.allclose((getattr(matched, name) - slower @ getattr(net, name)).data, 0)
    assert np.allclose(matched.bias, slower @ net.bias)


def test_the_leak_of_a_pruned_network_is_what_was_asked_for() -> None:
    net = network(0)
    kept, matched = (
        prune(net, sparsity=0.5, leak=leak, calibrate="none")[0].network
        for leak in ("kept", "matched")
    )
    assert np.array_equal(kept.tau_m, net.tau_m)
    assert (matched.tau_m > net.tau_m).mean() > 0.9  # less comes in, so less leaks
    slower = matched.tau_m / net.tau_m
    assert np.allclose((matched.weights - slower[:, None] * kept.weights.toarray()), 0)


@pytest.mark.parametrize("neurons", [0.0, 0.3])
def test_what_is_left_is_the_same_network_times_one_gain(neurons: float) -> None:
    net = network(0)
    last = prune(net, sparsity=0.7, neurons=neurons)[-1]
    part = net.of(last.neurons)
    there = (last.network.weights != 0).astype(float)
    assert np.allclose((part.weights * there * last.gain - last.network.weights).data, 0)
    for name in ("tau_m", "tau_s", "bias", "threshold", "inhibitory"):
        assert np.array_equal(getattr(part, name), getattr(last.network, name))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rounds", [1, 2])
def test_what_each_neuron_lost_and_kept_is_the_graph(seed: int, rounds: int) -> None:
    net = network(seed)
    last = prune(net, seed, sparsity=0.8, neurons=0.3, rounds=rounds, calibrate="none")[-1]
    before, small = net.weights.toarray(), last.network.weights
    after = np.zeros_like(before)
    after[np.ix_(last.neurons, last.neurons)] = small.toarray()
    assert np.array_equal(after[after != 0], before[after != 0])
    removed = (before != 0) & (after == 0)
    assert removed.sum() == round(0.8 * net.weights.nnz)
    lost, had = removed.sum(1), np.diff(net.weights.indptr)
    assert np.array_equal((had - lost)[last.neurons], np.diff(small.indptr))
    gone = np.setdiff1d(np.arange(N), last.neurons)
    assert np.array_equal(lost[gone], had[gone])
    sent = np.bincount(small.indices, minlength=len(last.neurons))
    assert np.array_equal(sent, ((before != 0) & ~removed).sum(0)[last.neurons])


@pytest.mark.parametrize("reading", ["R2w", "R2-ends", "R2-neighbourhoods", "R1", "MC", "weight"])
def test_every_reading_leaves_a_stable_linearisation(reading: str) -> None:
    net = network(2)
    last = prune(net, sparsity=0.8, reading=reading, calibrate="none")[-1]
    linear = linearise(last.network.weights, net.tau_m, tau_s=net.tau_s, gains=30.0)
    assert linear.scale == 1.0
    assert np.linalg.eigvals(linear.A.toarray()).real.max() < 0


def test_same_seed_same_network_and_another_seed_another() -> None:
    net = network(0)
    first, again, other = (prune(net, seed, sparsity=0.8)[-1] for seed in (0, 0, 1))
    assert (first.network.weights != again.network.weights).nnz == 0
    assert (first.network.weights != other.network.weights).nnz > 0


@pytest.mark.parametrize("after", [1, 2, 3])
def test_going_on_equals_going_through(after: int) -> None:
    net = network(1)
    settings = {"sparsity": 0.8, "neurons": 0.2, "rounds": 2, "delocalise": "always"}
    states = prune(net, 3, **settings)
    config = LNPConfig(**settings)
    rest = list(lyapunov_noise_pruning(net, config, seed=3, metric=memory, done=states[after - 1]))
    assert [s.steps for s in rest] == [s.steps for s in states[after:]]
    assert np.array_equal(rest[-1].network.weights.data, states[-1].network.weights.data)
    assert np.array_equal(rest[-1].neurons, states[-1].neurons)


def test_each_step_says_what_is_left() -> None:
    states = prune(network(0), sparsity=0.8, neurons=0.2, delocalise="always")
    assert [s.name for s in states[-1].steps] == ["I and II", "III", "gain"]
    for state in states:
        last = state.steps[-1]
        assert (last.neurons, last.synapses) == (len(state.network), state.network.weights.nnz)


def test_full_rescaling_makes_up_for_what_went() -> None:
    """Σ|w| is what it was, on average."""
    net = network(0)
    total = np.abs(net.weights.data).sum()
    sums = [
        np.abs(
            prune(net, seed, sparsity=0.5, rescale="full", calibrate="none")[
                -1
            ].network.weights.data
        ).sum()
        for seed in range(4)
    ]
    assert np.mean(sums) == pytest.approx(total, rel=0.1)
    bare = prune(net, sparsity=0.5, calibrate="none")[-1].network.weights.data
    assert np.abs(bare).sum() < 0.9 * total


def test_the_gain_is_the_best_of_those_tried() -> None:
    net = network(0)
    last = prune(net, sparsity=0.8)[-1]
    total = float(np.abs(net.weights.data).sum())
    kept = float(np.abs(last.network.weights.data).sum()) / total
    assert min(abs(kept - part) for part in (0.1, 0.2, 0.35, 0.6, 1.0)) < 1e-9
    best = max((0.1, 0.2, 0.35, 0.6, 1.0), key=lambda part: -abs(part * total - 300.0))
    assert kept == pytest.approx(best)


def test_deviation_brings_back_the_weights_power() -> None:
    net = network(0)
    last = prune(net, sparsity=0.8, calibrate="deviation")[-1]
    assert (last.network.weights.data**2).sum() == pytest.approx((net.weights.data**2).sum())


def test_without_recurrence_there_is_nothing_to_prune() -> None:
    net = network(0)
    bare = net.with_weights(sparse.csr_array((N, N)))
    with pytest.raises(ConfigError, match="no recurrence"):
        prune(bare)


def test_a_silent_network_is_named() -> None:
    net = network(0)
    quiet = replace(net, bias=np.full(N, -100.0))
    with pytest.raises(ConfigError, match="silent"):
        prune(quiet)


@pytest.mark.parametrize(
    "settings", [{}, {"calibrate": "none", "retune": "edge"}], ids=["gain", "step IV"]
)
def test_what_hears_nothing_is_not_judged_by_its_memory(settings: dict[str, Any]) -> None:
    deaf = network(0, inputs=0, bias=1.2)
    with pytest.raises(ConfigError, match="calibrate='deviation'"):
        prune_recurrent(deaf, LNPConfig(**settings))
    last = prune_recurrent(deaf, LNPConfig(calibrate="deviation"))
    assert last.network.weights.nnz == round(0.2 * deaf.weights.nnz)


def test_other_things_than_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match="got ndarray"):
        prune_recurrent(np.ones((3, 3)))  # type: ignore[arg-type]


def test_more_neurons_than_may_go_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"neurons: 5 of 100 are to stay, but (\d+) have input"):
        prune(network(0), sparsity=0.99, neurons=0.95)


def test_networks_say_what_they_are_in_a_few_words() -> None:
    last = prune(network(0))[-1]
    assert "RecurrentNetwork(100 neurons" in repr(last.network)
    assert f"{last.network.weights.nnz:,} synapses" in repr(last.network)
    assert "\n  gain: 100 neurons" in repr(last)
    assert len(repr(last)) < 1000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sparsity": 1.0}, "sparsity"),
        ({"neurons": -0.1}, "neurons"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 1.5}, "rounds"),
        ({"leak": "lost"}, "leak"),
        ({"reading": "R2W"}, "Did you mean 'R2w'"),
        ({"retune": "O2"}, "retune"),
        ({"eta": float("nan")}, "eta"),
        ({"eta": "1"}, "eta: .*'1'"),
        ({"sparsity": "0.8"}, r"sparsity: wanted a fraction in \[0, 1\), got '0.8'"),
        ({"neurons": True}, "neurons: .*True"),
        ({"rounds": True}, "rounds: .*True"),
        ({"stratified": "no"}, "stratified: .*'no'"),
    ],
)
def test_what_cannot_be_asked_for(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        LNPConfig(**settings)
