"""How fast to fine-tune what was pruned at once, by validation on digits.

    python benchmarks/finetune_rate.py --json finetune_rate.json

Each seed's dense network is trained once; every method for trained networks prunes a copy and gets
two epochs more, at several fractions of the training's learning rate. No test image is seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from record import about, write
from torch import nn

from microglia.experiment import RunConfig
from microglia.experiment.bench import Bench
from microglia.experiment.statistics import mean_and_spread
from microglia.experiment.trial import train_dense, train_pruned

RATES = (0.1, 0.2, 0.5, 1.0)
ASKED: dict[str, tuple[float, ...]] = {
    "slimming": (0.5, 0.8),
    "pca": (0.5, 0.8),
    "magnitude": (0.5, 0.8),
    "weight-magnitude": (0.9, 0.98),
    "lamp": (0.9, 0.98),
    "sbc": (0.9, 0.98),
}
TABLE: dict[str, dict[str, Any]] = {
    "network": {"name": "digits", "width": 0.5, "T": 4},
    "data": {"source": "digits", "batch_size": 32, "augment": "shift"},
    "training": {
        "epochs": 10,
        "optimizer": "adamw",
        "learning_rate": 5e-3,
        "schedule": "cosine",
    },
}


def opened(folder: Path, seed: int, **pruning: Any) -> Bench:
    config = RunConfig.from_table({**TABLE, "seeds": [seed], "pruning": pruning})
    return Bench.open(config, folder, progress=False)


def validated(dense: nn.Module, folder: Path, seed: int, **pruning: Any) -> float:
    """Validation accuracy after two epochs more."""
    trial = train_pruned(opened(folder, seed, **pruning), seed, dense=dense)
    return trial.history.epochs[-1].validation_accuracy or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        dense = {
            seed: train_dense(opened(folder / f"dense{seed}", seed, sparsity=0.0), seed).model
            for seed in range(arguments.seeds)
        }
        found: dict[str, dict[float, list[float]]] = {}
        print("| validation accuracy, % | " + " | ".join(f"x {rate:g}" for rate in RATES) + " |")
        print("|---" * (len(RATES) + 1) + "|")
        for method, sparsities in ASKED.items():
            for sparsity in sparsities:
                label = f"{method} at {sparsity:g}"
                found[label] = {
                    rate: [
                        validated(
                            model,
                            folder / f"{label}-{rate:g}-{seed}",
                            seed,
                            method=method,
                            sparsity=sparsity,
                            finetune_rate=rate,
                        )
                        for seed, model in dense.items()
                    ]
                    for rate in RATES
                }
                cells = [mean_and_spread(values, scale=100) for values in found[label].values()]
                print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
    means = {rate: fmean(fmean(row[rate]) for row in found.values()) for rate in RATES}
    print("| all | " + " | ".join(f"{100 * mean:.1f}" for mean in means.values()) + " |")
    chosen = max(means, key=lambda rate: means[rate])
    print(f"\nchosen: {chosen:g}")
    write(arguments.json, "finetune_rate", about(), validation=found, chosen=chosen)


if __name__ == "__main__":
    main()
