"""LAMP: prune a trained network by layer-adaptive magnitude."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from microglia.methods.parts.scope import Scores
from microglia.methods.parts.scores import lamp
from microglia.methods.parts.trained import Forward
from microglia.methods.weights import WeightPruner


class LAMP(WeightPruner):
    """Keep the weights of a trained network whose removal would change their layer most.

        s_u = w_u² / Σ_{|w_v| >= |w_u|, same layer} w_v²

    is what a weight is of its layer once all smaller ones are gone, so that one ranking over all
    layers finds each layer's sparsity. Within a layer it is the order of |w|; the largest weight of
    each scores 1. Call `calibrate()` on the trained network (with batches where the target is
    SynOps), `hold` the optimizer that fine-tunes, compact.

    Source: Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021; for
    spiking networks Gou et al., "Dynamic spatio-temporal pruning", Frontiers in Neuroscience 2025,
    whose other half, the pruning of timesteps, is not part of this.
    """

    name = "lamp"
    needs = "trained"
    source = "Lee et al., ICLR 2021"

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores:
        self._count_traffic(batches, forward)
        return {name: lamp(weight) for name, weight in self.masks.weights.items()}
