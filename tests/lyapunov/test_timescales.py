"""Step IV moves time constants as its objective asks, and only if the metric does not fall."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recurrent_networks import random_network

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov import lyapunov_spectrum
from microglia.lyapunov.timescales import OBJECTIVES, retune_time_constants

SHORT: dict[str, Any] = {"evaluations": 4, "duration": 1.0}


def slowness(network: RecurrentNetwork) -> float:
    return float(network.tau_m.mean())


def typed(seed: int) -> RecurrentNetwork:
    return replace(random_network(12, seed=seed), inhibitory=np.arange(12) < 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_is_taken_only_if_the_metric_does_not_fall(objective: str, seed: int) -> None:
    network = typed(seed)
    results = [
        retune_time_constants(network, network, objective=objective, metric=metric, **SHORT)
        for metric in (lambda _: 1.0, slowness, lambda net: -slowness(net))
    ]
    for found in results:
        moved = not np.array_equal(found.network.tau_m, network.tau_m)
        assert moved == found.accepted
        assert found.after >= found.before or not found.accepted
    theta, _ = min(results[0].evaluations, key=lambda pair: pair[1])
    logs = np.log(network.tau_m)
    for kind, name in ((False, "excitatory"), (True, "inhibitory")):
        mine = network.inhibitory == kind
        middle = logs[mine].mean()
        wanted = middle + theta[f"shift {name}"] + theta[f"spread {name}"] * (logs[mine] - middle)
        np.testing.assert_allclose(np.log(results[0].network.tau_m[mine]), wanted)


def test_what_is_evaluated_first_is_the_network_as_it_is() -> None:
    network = typed(0)
    found = retune_time_constants(network, network, metric=slowness, **SHORT)
    theta, cost = found.evaluations[0]
    assert theta == {key: float(key.startswith("spread")) for key in theta}
    first = lyapunov_spectrum(network, k=1, duration=1.0).exponents[0]
    assert cost == pytest.approx(abs(first) + 2 * max(0.0, first))
    assert len(found.evaluations) == 4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_directions_that_a_jump_forgets_leave_the_objective_a_number(objective: str) -> None:
    network = random_network(8, gain=40.0, synapses="jumps", refractory=0.002)
    lost = lyapunov_spectrum(network, k=None, duration=1.0).exponents
    assert np.isneginf(lost).any()
    found = retune_time_constants(network, network, objective=objective, metric=slowness, **SHORT)
    assert np.isfinite([cost for _, cost in found.evaluations]).all()


def test_what_cannot_be_is_refused() -> None:
    network = typed(0)
    for settings, words in (
        ({"objective": "O2"}, "one of"),
        ({"evaluations": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            retune_time_constants(network, network, **settings)  # type: ignore[arg-type]
    silent = replace(network, bias=np.zeros(12))
    with pytest.raises(ConfigError, match="silent or saturated"):
        retune_time_constants(silent, silent, metric=slowness, **SHORT)
