"""Weight magnitude: prune a trained network's smallest weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from microglia.methods.parts.scope import Scores
from microglia.methods.parts.trained import Forward
from microglia.methods.weights import WeightPruner


class WeightMagnitude(WeightPruner):
    """Keep the weights of largest |w| of a trained network, over all layers or in each.

        s_i = |w_i|

    `scope="global"` ranks all layers together, `scope="layer"` takes the same fraction of each.
    Call `calibrate()` on the trained network (with batches where the target is SynOps), `hold` the
    optimizer that fine-tunes, compact.

    Source: Han et al., "Learning both weights and connections", NeurIPS 2015.
    """

    name = "weight-magnitude"
    needs = "trained"
    source = "Han et al., NeurIPS 2015"
    search = {"scope": ("global", "layer")}

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores:
        self._count_traffic(batches, forward)
        return self._magnitudes()
