"""Random: the control that knows nothing."""

from __future__ import annotations

from typing import Any

from torch import nn

from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.scores import random_scores


class Random(ChannelPruner):
    """Close randomly chosen channels at initialisation, an equal fraction in every layer.

    The masks never change, and the weights that stay are as they were drawn. With
    `target={"parameters": f}` the fraction is solved so that the kept parameters match, to within
    one channel: the control to put beside a method at the parameters that it reached.
    """

    name = "random"
    needs = "initialisation"
    source = "control"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, scope="layer", **settings)
        with self._detached_if_refused():
            self._prune(random_scores(self.structure, self.generator))
