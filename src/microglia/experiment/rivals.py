"""Every method against every other, on CIFAR-10, at the size that a tier allows.

Channel methods at half and at 80 % of the channels, weight methods at 90 and 98 % of the weights;
the narrowed network at the parameters that SCA and the weight methods keep. Methods for trained
networks start from their seed's dense one and get two epochs more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from microglia.errors import ConfigError
from microglia.experiment.compare import CompareConfig
from microglia.experiment.config import RunConfig
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, tier_named
from microglia.methods import METHODS

SLIM = "uniform-slim"
MATCHED = {"sca": ("random", SLIM), "random-weights": (SLIM,)}
"""Method -> the controls that are trained at the parameters which it keeps."""

SETTINGS: dict[str, dict[str, Any]] = {"sca": {"warmup_epochs": 0.125}}
"""Beyond what all share; epochs as a fraction of the run's."""

SEEDS = 3


def jobs(tier: str) -> list[Job]:
    """Every seed's dense network and methods; the first seed of all comes first.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    size = tier_named(tier)
    if tier == "g":
        raise ConfigError("tier: methods are compared at the tiers s and m")
    found = _config(size).jobs()
    return [job for one in found for job in (one, *_matched(one))]


def _matched(job: Job) -> Iterator[Job]:
    for control in MATCHED.get(job.label, ()):
        pruning = dataclasses.replace(
            job.config.pruning, method=control, options={}, warmup_epochs=None, finetune_epochs=0
        )
        config: RunConfig = dataclasses.replace(job.config, pruning=pruning)
        yield Job(experiment=job.experiment, label=control, config=config, like=job.label)


def _config(tier: Tier) -> CompareConfig:
    controls = {name for names in MATCHED.values() for name in names}
    return CompareConfig.from_table(
        {
            "seeds": list(range(SEEDS)),
            "network": {"name": tier.network, "width": tier.width, "T": 4},
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
            },
            "pruning": {"until_epochs": 0.75 * tier.epochs},
            "compare": {
                "methods": [name for name in METHODS if name not in controls],
                "settings": {
                    method: {
                        key: value * tier.epochs if key.endswith("epochs") else value
                        for key, value in table.items()
                    }
                    for method, table in SETTINGS.items()
                },
            },
        }
    )
