"""The experiments of the SCA paper's section 5, at a size that a tier allows.

    Figure 2   accuracy, parameters and SynOps against channel sparsity
    Figure 3   channels per layer at each sparsity and over the epochs; changes of the mask
    Figure 4   distribution of importance; prune-and-regrow, prune-only and random

What Figures 3 and 4a show is in the records of the jobs for Figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from microglia.experiment.config import CONTROLS, DENSE, RunConfig
from microglia.experiment.job import Job
from microglia.experiment.tiers import Tier, cifar10, tier_named

SPARSITIES = (0.2, 0.5, 0.7, 0.8)
COMPARED = (0.5, 0.7)
ENDS = (0.5, 0.8)
"""Of the deep network, a run of which takes three times as long: what tier S asks for at least."""

UNTIL = 0.75
"""Part of a run after which masks stay: the paper prunes to the last of 300 epochs, but so short a
run needs a rest."""
UNTIL_OF = {"early masks": 0.25}

# label -> method, and its options beyond the default
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "SCA": ("sca", {}),
    "prune-only": ("sca", {"regrow": 0.0}),
    "random masks": ("sca", {"score": "random", "regrow_by": "random"}),
    "random regrowth": ("sca", {"regrow_by": "random"}),
    "early masks": ("sca", {}),
    "score: released": ("sca", {"score": "released"}),
    "score: rate": ("sca", {"score": "rate"}),
    "score: magnitude": ("sca", {"score": "magnitude"}),
    "activity": ("activity", {}),
}

DATA: dict[str, dict[str, dict[str, Any]]] = {
    "cifar10": {},
    "cifar100": {"data": {"source": "cifar100", "label_column": "fine_label"}},
    # Events, as examples/dvs128.toml has them: the paper's DVS-CIFAR10 isn't small.
    "dvs128": {
        "network": {"T": 5},
        "data": {
            "source": "dvs128_objects5",
            "size": 64,
            "train_rows": None,
            "validation_rows": None,
            "validation_share": 0.25,
            "batch_size": 32,
            "augment": "none",
        },
        "training": {"epochs": 12, "learning_rate": 2e-3},
    },
    "tiny20": {
        "data": {
            "source": "tiny_imagenet_20",
            "size": 32,
            "train_rows": [0, 9_000],
            "validation_rows": [9_000, 10_000],
        }
    },
}
"""What is set otherwise for a source than for CIFAR-10; None leaves a key out."""


def jobs(tier: str) -> list[Job]:
    """Every job of a tier, those that others build on and those that matter most first.

    Raises:
        ConfigError: there is no such tier.
    """
    size = tier_named(tier)
    if tier == "g":
        return list(
            _comparison("cifar10", size, seeds=1, sparsities=(0.5, 0.7, 0.8), labels=["SCA"])
        )
    main = ["SCA", *CONTROLS, "prune-only", "activity"]
    found = list(_comparison("cifar10", size, seeds=size.seeds, sparsities=COMPARED, labels=main))
    if tier == "m":
        return found
    rest = [label for label in VARIANTS if label not in main]
    found += _comparison("cifar10", size, seeds=size.seeds, sparsities=(0.2, 0.8), labels=["SCA"])
    found += _comparison("cifar10", size, seeds=3, sparsities=COMPARED, labels=rest)
    for data in ("dvs128", "cifar100", "tiny20"):
        found += _comparison(data, size, seeds=3, sparsities=SPARSITIES, labels=["SCA"])
    for data in ("cifar10", "cifar100"):
        found += _comparison(
            data, size, seeds=3, sparsities=ENDS, labels=["SCA"], network="preresnet20"
        )
    return list({job.name: job for job in found}.values())


def _comparison(
    data: str,
    tier: Tier,
    *,
    seeds: int,
    sparsities: tuple[float, ...],
    labels: list[str],
    network: str | None = None,
) -> Iterator[Job]:
    """Each seed's dense network, then every label at every sparsity."""
    network = network or tier.network
    experiment = f"{data}-{network}"
    for seed in range(seeds):
        dense = _config(data, tier, network, seed=seed, method="sca", sparsity=0.5, options={})
        yield Job(experiment=experiment, label=DENSE, config=dense)
        for sparsity in sparsities:
            for label in labels:
                control = label in CONTROLS
                method, options = (label, {}) if control else VARIANTS[label]
                config = _config(
                    data,
                    tier,
                    network,
                    seed=seed,
                    method=method,
                    sparsity=sparsity,
                    options=options,
                    until=UNTIL_OF.get(label, UNTIL),
                )
                like = "SCA" if control else None
                yield Job(experiment=experiment, label=label, config=config, like=like)


def _config(
    data: str,
    tier: Tier,
    network: str,
    *,
    seed: int,
    method: str,
    sparsity: float,
    options: dict[str, Any],
    until: float = UNTIL,
) -> RunConfig:
    table: dict[str, Any] = {
        section: {k: v for k, v in (keys | DATA[data].get(section, {})).items() if v is not None}
        for section, keys in cifar10(tier).items()
    }
    table["network"]["name"] = network
    table["pruning"] = {
        "method": method,
        "sparsity": sparsity,
        "until_epochs": until * table["training"]["epochs"],
        "options": options,
    }
    return RunConfig.from_table({**table, "seeds": [seed]})
