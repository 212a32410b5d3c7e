"""Small recurrent networks for the tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from microglia.frameworks import RecurrentNetwork
from microglia.networks import HRSNNConfig, SmallWorld


def network(seed: int = 0, *, neurons: int = 60) -> RecurrentNetwork:
    config = HRSNNConfig(
        neurons=neurons, inputs=2, wiring=SmallWorld(neighbours=10), weight=0.1, fed=0.5
    )
    return config.draw(seed)


def silent(seed: int = 0) -> RecurrentNetwork:
    return replace(network(seed), bias=np.full(60, -1e3))


def saturated(seed: int = 0) -> RecurrentNetwork:
    return replace(network(seed), bias=np.full(60, 1e6))
