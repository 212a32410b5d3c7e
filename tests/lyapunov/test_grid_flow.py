"""The flow that surrogate exponents follow is the simulation."""

from __future__ import annotations

import numpy as np
import pytest
from recurrent_networks import random_network

from microglia.lyapunov.surrogate import GridFlow
from microglia.simulation import State, simulate


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("refractory", [0.0, 3e-3])
@pytest.mark.parametrize("synapses", ["exponential", "delta"])
def test_the_grid_flow_fires_as_the_simulation(
    reset: str, refractory: float, synapses: str
) -> None:
    net = random_network(30, synapses=synapses, reset=reset, refractory=refractory)
    flow = GridFlow(net, seed=1)
    rest = State.rest(1, len(net))
    state = State(flow.V[None].copy(), rest.i, rest.fired, rest.held)
    run = simulate(net, T=300, state=state, record=("potentials",))
    assert run.potentials is not None
    spikes = run.raster().reshape(300, -1)
    assert spikes.sum() > 300
    for t in range(300):
        flow.advance(1)
        assert np.array_equal(flow.S > 0, spikes[t]), t
        assert np.allclose(flow.H, run.potentials.reshape(300, -1)[t])
