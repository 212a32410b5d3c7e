"""Values come in, filtered spikes come out, wherever a run is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reservoirs import network, saturated, silent
from scipy import sparse

from microglia.errors import ConfigError
from microglia.simulation import simulate
from microglia.tasks import reservoir
from microglia.tasks.reservoir import Activity, Position, Timing, fed, present


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_features_are_the_filtered_spikes_at_the_end_of_each_value(seed: int) -> None:
    net = fed(network(seed), 3, scale=2.0, seed=seed)
    values = np.random.default_rng(seed).standard_normal((12, 4, 3))
    activity = Activity()
    found, _ = present(net, values, Timing(hold=0.005, tau=0.03), activity=activity)
    raster = simulate(net, np.repeat(values, 5, axis=0)).raster().astype(float)
    trace, wanted = np.zeros((4, 60)), []
    for t, spikes in enumerate(raster):
        trace = np.exp(-1e-3 / 0.03) * trace + spikes
        if t % 5 == 4:
            wanted.append(trace)
    assert np.allclose(found, wanted, atol=1e-12)
    assert np.array_equal(activity.spikes, raster.sum((0, 1)))
    out = np.bincount(net.weights.indices, minlength=60)
    assert activity.synops == (raster.sum((0, 1)) * out).sum()
    figures = activity.figures(net)
    assert figures["rate"] == pytest.approx(raster.mean() / 1e-3)
    assert figures["synops"] == pytest.approx(activity.synops / (60 * 4))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_may_be_cut_anywhere(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = fed(network(seed), 2, seed=seed)
    values = np.random.default_rng(seed).standard_normal((20, 3, 2))
    timing = Timing(hold=0.004)
    whole, end = present(net, values, timing, activity=Activity())
    first, position = present(net, values[:7], timing, activity=Activity())
    rest, last = present(net, values[7:], timing, activity=Activity(), position=position)
    assert np.array_equal(np.concatenate([first, rest]), whole)
    assert np.array_equal(last.trace, end.trace)
    monkeypatch.setattr(reservoir, "PIECE", 1)
    assert np.array_equal(present(net, values, timing, activity=Activity())[0], whole)


def test_positions_side_by_side_go_on_as_each_alone() -> None:
    net = fed(network(), 2)
    values = np.random.default_rng(0).standard_normal((9, 1, 2))
    timing = Timing(hold=0.006)
    positions = [present(net, values[:k], timing, activity=Activity())[1] for k in (3, 5)]
    after = np.stack([values[8], values[8]], axis=1)
    both, _ = present(
        net, after, timing, activity=Activity(), position=Position.side_by_side(positions)
    )
    for k, position in enumerate(positions):
        alone, _ = present(net, values[8:], timing, activity=Activity(), position=position)
        assert np.array_equal(both[:, [k]], alone)


@pytest.mark.parametrize("seed", [0, 1])
def test_pruned_networks_get_the_same_input(seed: int) -> None:
    """Where all neurons that hear stay: theirs are the same weights, in the same order."""
    net = network(seed)
    assert net.inputs is not None
    hear = np.flatnonzero(abs(net.inputs).sum(axis=1))
    stay = np.union1d(hear, np.random.default_rng(seed).permutation(60)[:40])
    whole, part = fed(net, 5, seed=3), fed(net.of(stay), 5, seed=3)
    assert whole.inputs is not None
    assert part.inputs is not None
    assert np.array_equal(whole.inputs.toarray()[stay], part.inputs.toarray())
    assert np.array_equal(np.flatnonzero(abs(whole.inputs).sum(axis=1)), hear)
    other = fed(net, 5, seed=4)
    assert other.inputs is not None
    assert not np.array_equal(whole.inputs.toarray(), other.inputs.toarray())


def test_input_weights_have_their_scale() -> None:
    inputs = fed(network(neurons=2000), 40, scale=0.3).inputs
    assert inputs is not None
    assert inputs.data.std() == pytest.approx(0.3, rel=0.02)
    assert inputs.data.mean() == pytest.approx(0.0, abs=0.01)


def test_silence_saturation_and_deafness_are_said() -> None:
    values = np.zeros((10, 1, 2))
    for net, word in ((silent(), "silent"), (saturated(), "saturated")):
        activity = Activity()
        present(net, values, Timing(hold=0.005), activity=activity)
        with pytest.raises(ConfigError, match=word):
            activity.figures(net)
    deaf = replace(network(), inputs=sparse.csr_array((60, 2)))
    for net in (deaf, replace(deaf, inputs=None)):
        with pytest.raises(ConfigError, match="no neuron hears"):
            fed(net, 2)
    for timing in (Timing(hold=1e-4), Timing(hold=0.01, tau=0.0)):
        with pytest.raises(ConfigError, match="hold, tau"):
            present(network(), values, timing, activity=Activity())
