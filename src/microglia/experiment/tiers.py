"""How large an experiment is: minutes a network, tens of minutes, or hours on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from microglia.data.splits import CIFAR10_VALIDATION
from microglia.errors import ConfigError, nearest


@dataclass(frozen=True)
class Tier:
    """How large an experiment is; see the design's tiers."""

    train_rows: int | None
    """None: all that don't validate."""
    epochs: int
    width: float
    seeds: int
    """Of CIFAR-10; other data get three."""
    network: str = "conv5"
    batch_size: int = 64
    precision: str = "32-true"


TIERS = {
    "s": Tier(train_rows=10_000, epochs=8, width=0.25, seeds=5),
    "m": Tier(train_rows=20_000, epochs=15, width=0.25, seeds=3),
    "g": Tier(
        train_rows=None,
        epochs=60,
        width=1.0,
        seeds=1,
        network="vgg16",
        batch_size=256,
        precision="bf16-mixed",
    ),
}


def tier_named(name: str) -> Tier:
    """Raises ConfigError where there is no such tier."""
    if name not in TIERS:
        raise ConfigError(f"tier: '{name}' is unknown.{nearest(name, list(TIERS))}")
    return TIERS[name]


def cifar10(tier: Tier) -> dict[str, dict[str, Any]]:
    """What all experiments on CIFAR-10 share: the sections network, data and training."""
    data = {
        "source": "cifar10",
        "validation_rows": [CIFAR10_VALIDATION.start, CIFAR10_VALIDATION.stop],
        "batch_size": tier.batch_size,
        "augment": "crop-flip",
    }
    if tier.train_rows is not None:
        data["train_rows"] = [0, tier.train_rows]
    return {
        "network": {"name": tier.network, "width": tier.width, "T": 4},
        "data": data,
        "training": {
            "epochs": tier.epochs,
            "optimizer": "adamw",
            "learning_rate": 5e-3,
            "schedule": "cosine",
            "precision": tier.precision,
        },
    }
