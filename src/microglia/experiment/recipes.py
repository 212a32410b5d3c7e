"""Norms and losses against each other, on CIFAR-10, before anything is pruned."""

from __future__ import annotations

from microglia.errors import ConfigError
from microglia.experiment.config import DENSE, RunConfig
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, tier_named
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
    return RunConfig.from_table(
        {
            "seeds": [seed],
            "network": {"name": tier.network, "width": tier.width, "T": 4, "norm": norm},
            "data": {
                "source": "cifar10",
                "train_rows": [0, tier.train_rows],
                "validation_rows": [20_000, 22_000],
                "batch_size": tier.batch_size,
                "augment": "crop-flip",
            },
            "training": {
                "epochs": tier.epochs,
                "optimizer": "adamw",
                "learning_rate": 5e-3,
                "schedule": "cosine",
                "loss": loss,
            },
            "pruning": {"sparsity": 0.0},
        }
    )
