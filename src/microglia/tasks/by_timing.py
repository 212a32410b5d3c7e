"""A network whose excitatory synapses learn by the timing of spikes, without labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov.graph import ends, same_synapses
from microglia.simulation import simulate
from microglia.tasks.reservoir import Timing
from microglia.training.pair_stdp import PairSTDPConfig, recurrent_pairs, train_pair_stdp

Array = NDArray[Any]


def learn_by_timing(
    network: RecurrentNetwork, batches: Iterable[Array], timing: Timing, *, config: PairSTDPConfig
) -> RecurrentNetwork:
    """The network after its excitatory recurrent synapses changed by the timing of its spikes.

    After each batch a neuron's excitatory synapses are scaled back to the sum that they had, or
    soft bounds would pull all of them to the middle and the network into another state: what is
    learnt is how the sum is shared out. `config.maximum` is in units of the largest weight.

    Args:
        batches: values [P, B, K] that come in, each from rest and held for `timing.hold`.

    Raises:
        ConfigError: no batch.
        TrainingError: no pair of spikes met at any excitatory synapse.
    """
    W = network.weights
    post, pre = ends(W)
    dense = torch.as_tensor(W.toarray())
    excites = dense > 0
    sums = dense.where(excites, 0).sum(1)
    largest = float(W.data.max(initial=0.0))
    config = replace(config, maximum=config.maximum * max(largest, np.finfo(float).tiny))
    hold = timing.steps(network)

    def learnt() -> RecurrentNetwork:
        now = dense.where(excites, 0).sum(1)
        scale = (sums / now).where(now > 0, 1.0)
        # In place: these are the numbers that the rule changes. Soft bounds pull back what rises
        # above the maximum by this.
        dense.copy_(dense.where(~excites, dense * scale[:, None]))
        return network.with_weights(same_synapses(W, dense.numpy()[post, pre]))

    def run(values: Tensor) -> tuple[Tensor, Tensor]:
        spikes = simulate(learnt(), values.numpy(), hold=hold).raster()
        return recurrent_pairs(torch.as_tensor(spikes).to(dense))

    train_pair_stdp(
        dense, run, [torch.as_tensor(np.asarray(b, np.float64)) for b in batches], config=config
    )
    return learnt()
