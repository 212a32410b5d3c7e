"""Sparse random: the control of weight pruning that knows the layers' shapes, and nothing else."""

from __future__ import annotations

from typing import Any

from torch import nn

from microglia.methods.parts.scope import in_proportion
from microglia.methods.parts.scores import erdos_renyi
from microglia.methods.weights import WeightPruner


class SparseRandom(WeightPruner):
    """Close randomly chosen weights at initialisation, small layers left denser (Erdős-Rényi).

        n_l ∝ n_in + n_out, for convolutions n_in + n_out + k_h + k_w; at most all

    What `ESL` and `NDSNN` begin with, without any rewiring: beside them it tells what rewiring is
    worth, and beside `RandomWeights` what the layers' shares are.

    Source: Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science", Nature Communications 2018; for convolutions Evci et
    al., ICML 2020.
    """

    name = "sparse-random"
    needs = "initialisation"
    source = "control"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        with self._detached_if_refused():
            self._prune(in_proportion(self._random(), erdos_renyi(self.masks.weights)))
