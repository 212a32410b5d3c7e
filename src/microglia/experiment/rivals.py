"""Every method against every other, on CIFAR-10, at the size that a tier allows.

Channel methods at half and at 80 % of the channels, weight methods at 90 and 98 % of the weights;
random channels and the evenly narrowed network at the parameters that SCA keeps, and the narrowed
one also at those of random weights. Methods for trained networks start from their seed's dense one
and get two epochs more. Emergent methods have the strength that comes near the sparsity on its own
(`STRENGTHS`), and are projected to it at half of the run; records tell what they had reached. PCA's
needs none: its projection closes the channels that the right strength would.
"""

from __future__ import annotations

from typing import Any

from microglia.errors import ConfigError
from microglia.experiment.compare import CompareConfig
from microglia.experiment.config import CONTROLS, DENSE
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, cifar10, tier_named
from microglia.methods import METHODS

UNTIL = 0.75
"""Part of a run after which masks stay."""
CUT = 0.5
"""The same of methods that may be far from their budget until they are cut to it: the learning
rates after it sum to about those of the two epochs that a trained network gets."""
UPDATE = 1 / 32
"""Part of a run between updates of methods that count in them; their papers have hundreds."""
DRAWN = 0.25
"""Part of a run after which ADMM draws weights: eight updates before the cut, each softer than by
its default ρ (`benchmarks/admm_settings.py`)."""
SCALES = 1e-3
"""Slimming's λ: ten times the paper's, for a run of a hundredth of its steps."""
ROUNDS = 3
"""Of lottery tickets, each of half a run: tickets cost one and a half times the dense network."""

SEEDS = 3

STRENGTHS = {
    "stds": {0.9: 0.395, 0.98: 0.772},
    "grad-r": {0.9: 0.127, 0.98: 0.29},
    "soft-deep-r": {0.9: 0.2, 0.98: 0.481},
    "hard-concrete": {0.9: 9.35e-5, 0.98: 3.75e-4},
    "upr": {0.9: 1.17e-5, 0.98: 7.53e-5},
    "sd-snn": {0.8: 0.146},  # its own reaches half
    "dpap": {0.5: 1.9, 0.8: 1.9},  # as strong as it can be, which reaches 0.49
}
"""Method -> sparsity -> strength, found at tier S on a seed that is not compared, without a look at
accuracies (`benchmarks/strengths.py`)."""


def jobs(tier: str) -> list[Job]:
    """Every seed's dense network and controls, then all methods seed by seed.

    Raises:
        ConfigError: there is no such tier, or it is the one for a GPU.
    """
    size = tier_named(tier)
    if tier == "g":
        raise ConfigError("tier: methods are compared at the tiers s and m")
    return in_order(comparison(size))


def in_order(config: CompareConfig) -> list[Job]:
    """The jobs of a comparison in an order of which every part can be read: dense networks,
    controls and what they are matched to, then the others, each seed by seed."""

    def stands_alone(job: Job) -> bool:
        matched = job.like is not None or config.compare.controls_of(job.label)
        return not matched and job.label != DENSE

    return sorted(config.jobs(), key=lambda job: (stands_alone(job), job.seed))


def comparison(tier: Tier) -> CompareConfig:
    """All methods with the settings that they have at a tier's size."""
    return CompareConfig.from_table(
        {
            **cifar10(tier),
            "seeds": list(range(SEEDS)),
            "pruning": {"until_epochs": UNTIL * tier.epochs},
            "compare": {
                "methods": [
                    name
                    for name, cls in METHODS.items()
                    if name not in CONTROLS and not cls.recurrent_only
                ],
                "settings": _settings(tier),
            },
        }
    )


def _settings(tier: Tier) -> dict[str, dict[str, Any]]:
    """What methods need beyond what all share: their time constants follow the run's length."""
    updates = {"every_epochs": UPDATE * tier.epochs}
    half = -(-tier.epochs // 2)  # whole epochs are whole steps
    strengths = {
        f"{method}-{sparsity:g}": {"strength": strength}
        for method, found in STRENGTHS.items()
        for sparsity, strength in found.items()
    }
    cut = {"until_epochs": CUT * tier.epochs}
    strengths["dpap-0.8"] |= cut  # reaches half
    in_layers = {"scope": "layer"}  # over all layers, each leaves one or two next to nothing
    return {
        **strengths,
        **dict.fromkeys(("stds", "grad-r", "soft-deep-r", "hard-concrete"), cut),
        "sca": {"warmup_epochs": 0.125 * tier.epochs},
        "esl": updates,
        "ndsnn": updates,
        "spike-thrift": updates,
        "sd-snn": updates,
        "dpap": updates,
        "magnitude": in_layers,
        "activity": in_layers,
        "slimming": {**in_layers, "penalty": SCALES},
        "admm": {**updates, **cut, "warmup_epochs": DRAWN * tier.epochs, "rho": 0.01},
        "lottery-ticket": {
            "rounds": ROUNDS,
            "every_epochs": float(half),
            "until_epochs": float(ROUNDS * half),
            "epochs": ROUNDS * half,
        },
    }
