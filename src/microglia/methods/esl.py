"""ESL: a sparse network whose weights move about while it trains."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from microglia.errors import ConfigError, nearest
from microglia.methods.change import Change
from microglia.methods.parts.scope import in_proportion
from microglia.methods.parts.scores import erdos_renyi
from microglia.methods.rewiring import GROWTH, Growth, RewiringPruner


class ESL(RewiringPruner):
    """Evolutionary structure learning: every layer keeps its number of weights, but not which.

        start    n_l random weights, their sum the budget, shared out by Erdős-Rényi:
                 n_l ∝ n_in + n_out, for convolutions n_in + n_out + k_h + k_w; at most all
        update   close the ζ n_l weights of smallest |w| of layer l, open as many

        ζ(t) = ζ · (1 + cos(π t / until)) / 2,       constant without `until`

    Args:
        rate: ζ, the fraction of the open weights that moves at once.
        grow_by: what weights open by: "random" (SET), "gradient" (RigL) or "momentum".
        scope: "global" starts by Erdős-Rényi, "layer" with the same fraction of each layer.
        The others: see `RewiringPruner`.

    Source: Shen et al., "ESL-SNNs: an evolutionary structure learning strategy for spiking neural
    networks", AAAI 2023. No code was released, and ζ, its decay and the interval are not known:
    the rule is that of SET (Mocanu et al., 2018) and RigL (Evci et al., ICML 2020), which the paper
    builds on, ζ = 0.3 and the cosine RigL's. SET closes the smallest positive and the largest
    negative weights; here it is the smallest |w| in all three.
    """

    name = "esl"
    source = "Shen et al., AAAI 2023"

    def __init__(
        self, model: nn.Module, *, rate: float = 0.3, grow_by: Growth = "random", **settings: Any
    ) -> None:
        if not 0 <= rate <= 1:
            raise ConfigError(f"rate is a fraction of the open weights, in [0, 1]; got {rate!r}")
        if grow_by not in GROWTH:
            raise ConfigError(f"grow_by can't be {grow_by!r}.{nearest(str(grow_by), GROWTH)}")
        self.rate, self.grow_by = rate, grow_by
        super().__init__(model, **settings)

    @property
    def zeta(self) -> float:
        """ζ after the steps taken."""
        if self.schedule.until is None:
            return self.rate
        x = min(1.0, self.steps / self.schedule.until)
        return self.rate * 0.5 * (1 + math.cos(math.pi * x))

    def _update(self) -> Change:
        if not self.changes:
            return self._prune(in_proportion(self._random(), erdos_renyi(self.masks.weights)))
        return self._apply(self._rewired(self.kept(), self.zeta))
