"""Exponents of single neurons by adjoint probes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recurrent_networks import random_network
from scipy.stats import spearmanr

from microglia.errors import ConfigError
from microglia.lyapunov import neuron_exponents
from microglia.lyapunov.surrogate import GridFlow


@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
@pytest.mark.parametrize("steps", [50, 3])
def test_they_are_the_growth_of_each_neurons_perturbation(synapses: str, steps: int) -> None:
    """Of a unit perturbation of V_i, carried forward through one window."""
    network = random_network(8, gain=1.5, synapses=synapses, refractory=0.002)
    T = steps * network.dt
    found = neuron_exponents(network, probes=20_000, windows=1, warmup=0.1, window=T)
    flow = GridFlow(network)
    flow.advance(100)
    before = flow.spikes
    flow.tangent = np.eye(flow.dimension)[:, :8]
    flow.advance(steps)
    wanted = np.log((flow.tangent**2).sum(0)) / (2 * T)
    # Means of 20,000 squares are within 8 %, where perturbations have few directions.
    np.testing.assert_allclose(found.values, wanted, atol=0.08 / (2 * T))
    assert found.rate == pytest.approx((flow.spikes - before) / (8 * T))


def test_sixteen_probes_rank_neurons_as_sixty_four_do() -> None:
    for seed in range(2):
        network = random_network(200, seed=seed, density=0.1, gain=2.0, refractory=0.002)
        few, many = (
            neuron_exponents(network, probes=probes, seed=seed, warmup=0.1) for probes in (16, 64)
        )
        assert spearmanr(few.values, many.values).statistic >= 0.98
        assert few.rate == many.rate


def test_without_synapses_each_neuron_forgets_with_its_time_constant() -> None:
    network = random_network(10, gain=0.0)
    found = neuron_exponents(network, probes=64, windows=40, warmup=0.1)
    # A mean of 64 squares: its logarithm is low by 1/64, and 40 windows scatter by 0.03.
    np.testing.assert_allclose(found.values, -1 / network.tau_m, atol=1.5)


def test_rates_are_positive_and_keep_the_order() -> None:
    found = neuron_exponents(random_network(30, gain=2.0), warmup=0.1, windows=4)
    assert (found.positive > 0).all()
    assert np.array_equal(np.argsort(found.positive), np.argsort(found.values))
    assert np.log(found.positive).mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        np.log(found.positive), (found.values - found.values.mean()) * 0.05, atol=1e-12
    )


@pytest.mark.parametrize("synapses", ["exponential", "jumps"])
def test_a_neuron_that_nobody_hears_and_that_forgets_at_once_has_an_exponent(synapses: str) -> None:
    network = random_network(30, gain=2.0, synapses=synapses)
    weights = network.weights.tolil()
    weights[:, 3] = 0
    tau_m = np.where(np.arange(30) == 3, 1e-4, network.tau_m)
    network = replace(network, weights=weights.tocsr(), tau_m=tau_m)
    found = neuron_exponents(network, warmup=0.1)
    assert np.isfinite(found.values).all()
    assert found.values.argmin() == 3
    assert (found.positive > 0).all()


def test_silent_networks_and_bad_settings_are_refused() -> None:
    network = random_network(5)
    for settings in ({"probes": 0}, {"windows": 0}, {"window": 1e-4}, {"gamma": -1.0}):
        with pytest.raises(ConfigError, match="wanted probes"):
            neuron_exponents(network, **settings)  # type: ignore[arg-type]
    object.__setattr__(network, "bias", np.full(5, 0.5))
    with pytest.raises(ConfigError, match="silent"):
        neuron_exponents(network, warmup=0.1)
