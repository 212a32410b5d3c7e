"""Every method against every other, on CIFAR-10, at the size that a tier allows.

Channel methods at half and at 80 % of the channels, weight methods at 90 and 98 % of the weights;
random channels and the evenly narrowed network at the parameters that SCA keeps, and the narrowed
one also at those of random weights. Methods for trained networks start from their seed's dense one
and get two epochs more. Emergent methods have the strength that is theirs by default, and are
projected to the sparsity at three quarters of the run; records tell what they had reached.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from microglia.errors import ConfigError
from microglia.experiment.compare import CompareConfig
from microglia.experiment.config import DENSE
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, cifar10, tier_named
from microglia.methods import METHODS

SLIM = "uniform-slim"
MATCHED = {"sca": ("random", SLIM), "random-weights": (SLIM,)}
"""Method -> the controls that are trained at the parameters which it keeps."""

UNTIL = 0.75
"""Part of a run after which masks stay."""
UPDATE = 1 / 32
"""Part of a run between updates of methods that count in them; their papers have hundreds."""
ROUNDS = 3
"""Of lottery tickets, each of half a run: tickets cost one and a half times the dense network."""

SEEDS = 3


def jobs(tier: str) -> list[Job]:
    """Every seed's dense network and controls, then all methods seed by seed.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    size = tier_named(tier)
    if tier == "g":
        raise ConfigError("tier: methods are compared at the tiers s and m")
    return with_controls(comparison(size))


def with_controls(config: CompareConfig) -> list[Job]:
    """The jobs of a comparison and the controls matched to them, in an order of which every part
    can be read: dense networks and controls with what they are matched to, then seed by seed."""
    found = [job for one in config.jobs() for job in (one, *_matched(one))]
    return sorted(found, key=lambda job: (_stands_alone(job), job.seed))


def _stands_alone(job: Job) -> bool:
    """Whether it is neither a control nor what one is matched to."""
    return job.label not in {DENSE, *MATCHED} and job.like is None


def _matched(job: Job) -> Iterator[Job]:
    for control in MATCHED.get(job.label, ()):
        pruning = dataclasses.replace(
            job.config.pruning, method=control, options={}, warmup_epochs=None, finetune_epochs=0
        )
        config = dataclasses.replace(job.config, pruning=pruning)
        yield dataclasses.replace(job, label=control, config=config, like=job.label)


def comparison(tier: Tier) -> CompareConfig:
    """All methods with the settings that they have at a tier's size, without matched controls."""
    controls = {name for names in MATCHED.values() for name in names}
    return CompareConfig.from_table(
        {
            **cifar10(tier),
            "seeds": list(range(SEEDS)),
            "pruning": {"until_epochs": UNTIL * tier.epochs},
            "compare": {
                "methods": [
                    name
                    for name, cls in METHODS.items()
                    if name not in controls and not cls.recurrent_only
                ],
                "settings": _settings(tier),
            },
        }
    )


def _settings(tier: Tier) -> dict[str, dict[str, Any]]:
    """What methods need beyond what all share: their time constants follow the run's length."""
    updates = {"every_epochs": UPDATE * tier.epochs}
    half = -(-tier.epochs // 2)  # whole epochs are whole steps
    return {
        "sca": {"warmup_epochs": 0.125 * tier.epochs},
        "esl": updates,
        "ndsnn": updates,
        "spike-thrift": updates,
        "sd-snn": updates,
        "dpap": updates,
        "lottery-ticket": {
            "rounds": ROUNDS,
            "every_epochs": float(half),
            "until_epochs": float(ROUNDS * half),
            "epochs": ROUNDS * half,
        },
    }
