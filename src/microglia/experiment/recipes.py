"""Norms and losses against each other, on CIFAR-10, before anything is pruned."""

from __future__ import annotations

from microglia.errors import ConfigError
from microglia.experiment.config import DENSE, RunConfig
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, cifar10, tier_named
from microglia.networks.layers import NORMS

LOSSES = ("cross-entropy", "tet")
SEEDS = 3


def jobs(tier: str) -> list[Job]:
    """A dense network for each norm, loss and seed; the first seed of all comes first.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    size = tier_named(tier)
    if tier == "g":
        raise ConfigError("tier: norms and losses are compared at the tiers s and m")
    return [
        Job(
            experiment=f"{norm}, {loss}",
            label=DENSE,
            config=_config(size, norm=norm, loss=loss, seed=seed),
        )
        for seed in range(SEEDS)
        for norm in NORMS
        for loss in LOSSES
    ]


def _config(tier: Tier, *, norm: str, loss: str, seed: int) -> RunConfig:
    table = cifar10(tier)
    table["network"]["norm"], table["training"]["loss"] = norm, loss
    return RunConfig.from_table({**table, "seeds": [seed], "pruning": {"sparsity": 0.0}})
