"""Magnitude: prune a trained network's smallest filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.scores import filter_magnitude
from microglia.methods.parts.trained import Forward


class Magnitude(ChannelPruner):
    """Keep the filters of largest mean |w| in a trained network.

        A_c = mean over the filter of |w|

    Call `calibrate()` on the trained network (with batches where the target is SynOps), fine-tune,
    compact. Source: Li et al., "Pruning filters for efficient ConvNets", ICLR 2017, with the
    mean instead of the sum. Weights shrink with fan-in, so over all layers late ones go first, down
    to a few filters; `scope="layer"` prunes each alike, as the source does.
    """

    name = "magnitude"
    needs = "trained"
    source = "Li et al., ICLR 2017"

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Any:
        self._count_traffic(batches, forward)
        return filter_magnitude(self.model, self.structure)
