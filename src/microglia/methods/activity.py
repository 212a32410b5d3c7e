"""Activity: prune a trained network's least active channels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.scores import ActivityScore
from microglia.methods.parts.traffic import Traffic
from microglia.methods.parts.trained import Forward, listening, run_over


class Activity(ChannelPruner):
    """Keep the channels that fire most in a trained network.

        r_c = mean over n, t, h, w of S

    Call `calibrate(batches)` on the trained network, fine-tune, compact. The generic baseline of
    the field (the "activity-based pruning" that the LNP and HRSNN papers compare with).
    """

    name = "activity"
    needs = "trained"
    source = "generic baseline"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._rates = ActivityScore(model, self.structure, kind="rate", samples=None)
        self._parts["score"] = self._rates

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Any:
        listeners = [p for p in self._parts.values() if isinstance(p, (ActivityScore, Traffic))]
        for part in listeners:
            part.clear()
        with listening(*listeners):
            run_over(self.model, batches, forward, needed=True)
        return self._rates.mean()
