"""Slimming: prune a trained network's channels by the scale of their norm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.channels import ChannelPruner
from microglia.methods.parts.scope import Scores
from microglia.methods.parts.scores import norm_means, norm_scales
from microglia.methods.parts.trained import Forward
from microglia.structure import Keep


class Slimming(ChannelPruner):
    """Keep the channels whose norm has the largest scale.

        A_c = |γ_c|        y = γ x̂ + β        penalty: λ · sum of |γ_c| over open channels

    A group with several norms (a residual stream) gets the mean over them. The paper trains with
    the penalty, so that scales differ: make the pruner before training and add `penalty()` to the
    loss. Then, or on a network that was trained without it, call `calibrate()` (with batches where
    the target is SynOps), fine-tune, compact.

    Args:
        penalty: λ, the rate of the L1 term on the scales (the paper: 1e-5 to 1e-4; comparisons
            train the network with the latter).
        The others: see `ChannelPruner`.

    Raises:
        ConfigError: channels that may be pruned have no norm with a scale.

    Source: Liu et al., "Learning efficient convolutional networks through network slimming", ICCV
    2017; a baseline for spiking networks in SPEAR (Xie et al., 2025).
    """

    name = "slimming"
    needs = "trained"
    usual_penalty = 1e-4
    source = "Liu et al., ICCV 2017"

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **settings)
        self._scales = {g.name: list(norm_scales(model, g)) for g in self.structure.groups}
        bare = [name for name, scales in self._scales.items() if not scales]
        if bare:
            self.detach()
            raise ConfigError(
                f"'slimming': no norm for a BN-scale score in {', '.join(bare)}. Give these layers "
                f"a batch norm with a scale, or leave them alone with protect={bare}"
            )

    def _penalised(self, keep: Keep) -> list[tuple[str, int, Tensor]]:
        stays: dict[str, Tensor] = {}
        for group, scales in self._scales.items():
            for name, channel in scales:  # one norm may serve several groups
                rows = stays.setdefault(name, torch.zeros(len(channel), dtype=torch.bool))
                mine = channel >= 0
                rows[mine] = keep[group][channel[mine]]
        return [
            (name, 0, rows.nonzero().flatten().to(self.model.get_parameter(name).device))
            for name, rows in stays.items()
        ]

    def _calibrated(self, batches: Iterable[Any], forward: Forward) -> Scores:
        self._count_traffic(batches, forward)
        means = {g.name: norm_means(self.model, g, _scale) for g in self.structure.groups}
        return {name: mean for name, mean in means.items() if mean is not None}


def _scale(norm: nn.Module) -> Tensor:
    assert isinstance(norm.weight, Tensor)
    return norm.weight.abs()
