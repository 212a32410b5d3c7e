"""Drive without a task, slopes of rates, and memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import memory_capacity
from microglia.lyapunov.gain import estimate_gains
from microglia.lyapunov.noise import smooth_noise
from microglia.networks import HRSNNConfig, SmallWorld


def network(seed: int = 0) -> RecurrentNetwork:
    return HRSNNConfig(neurons=80, wiring=SmallWorld(neighbours=16), weight=0.2).draw(seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_smooth_noise_has_unit_variance_and_keeps_nine_tenths_in_ten_milliseconds(
    seed: int,
) -> None:
    u = smooth_noise(30, duration=20.0, dt=1e-3, generator=np.random.default_rng(seed))
    assert u.shape == (20_000, 30)
    knots = u[::10]
    assert knots.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(knots[1:].ravel(), knots[:-1].ravel())[0, 1] == pytest.approx(0.9, abs=0.02)


def test_what_would_last_less_than_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least a step"):
        memory_capacity(network(), hold=1e-5)
    with pytest.raises(ConfigError, match="at least a step"):
        smooth_noise(3, duration=1e-5, dt=1e-3, generator=np.random.default_rng(0))


@pytest.mark.parametrize("seed", [0, 1])
def test_gains_do_not_depend_on_how_a_run_is_cut(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microglia.lyapunov import gain

    net = network(seed)
    whole = estimate_gains(net, duration=1.0, generator=np.random.default_rng(0))
    # One generator draws drive and noise, so cuts must not change the order of the draws.
    monkeypatch.setattr(gain, "CHUNK", 70 * len(net))
    cut = estimate_gains(net, duration=1.0, generator=np.random.default_rng(0))
    assert np.allclose(whole.gain, cut.gain)
    assert np.allclose(whole.rate, cut.rate)


def test_a_gain_is_the_slope_of_the_rate() -> None:
    """Of uncoupled neurons, against the rates at two biases."""
    net = network()
    net = replace(net.with_weights(net.weights * 0), inputs=None, bias=np.full(80, 1.3))
    found = estimate_gains(net, duration=20.0, noise=1.0, generator=np.random.default_rng(0))
    rates = [
        estimate_gains(
            replace(net, bias=np.full(80, bias)),
            duration=20.0,
            noise=1.0,
            generator=np.random.default_rng(1),
        ).rate
        for bias in (1.2, 1.4)
    ]
    slope = (rates[1] - rates[0]) / 0.2
    assert np.median(found.gain / slope) == pytest.approx(1, abs=0.25)


def test_silent_neurons_have_no_gain() -> None:
    net = network()
    bias = np.array(net.bias)
    bias[:10] = -100.0
    found = estimate_gains(
        replace(net, bias=bias), duration=1.0, generator=np.random.default_rng(0)
    )
    assert not found.gain[:10].any()
    assert not found.rate[:10].any()
    assert (found.gain >= 0).all()


def test_memory_is_between_none_and_all_and_recurrence_adds_to_it() -> None:
    net = HRSNNConfig(neurons=300, wiring=SmallWorld(neighbours=60), weight=0.1).draw(0)
    with_it = memory_capacity(net, steps=1200)
    without = memory_capacity(net.with_weights(net.weights * 0), steps=1200)
    assert 0 < without < with_it < 20
    assert memory_capacity(net, steps=1200) == with_it


def test_a_network_that_hears_nothing_remembers_nothing() -> None:
    net = network()
    assert net.inputs is not None
    deaf = replace(net, inputs=net.inputs * 0)
    assert memory_capacity(deaf, steps=400) < 0.5
    with pytest.raises(ConfigError, match="no inputs"):
        memory_capacity(replace(net, inputs=None))
    with pytest.raises(ConfigError, match="at least 400"):
        memory_capacity(net, steps=100)
