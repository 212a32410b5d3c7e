"""Random weights: the control of weight pruning that knows nothing."""

from __future__ import annotations

from typing import Any

from torch import nn

from microglia.methods.weights import WeightPruner


class RandomWeights(WeightPruner):
    """Close randomly chosen weights at initialisation, an equal fraction in every layer.

    The masks never change, and the weights that stay are as they were drawn.
    """

    name = "random-weights"
    needs = "initialisation"
    source = "control"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, scope="layer", **settings)
        with self._detached_if_refused():
            self._prune(self._random())
