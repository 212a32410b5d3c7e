"""Settings for five objects before an event camera, by the training day alone.

    MICROGLIA_DATA=... python benchmarks/dvs128_settings.py --json settings.json

Each setting's networks train on the first three quarters of each class and are validated on the
last quarter; the other day's recordings are not looked at. One thing is changed at a time. Printed:
the mean of the last three epochs' accuracies.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record import about, write

from microglia.experiment import RunConfig
from microglia.experiment.bench import Bench
from microglia.experiment.statistics import mean_and_spread
from microglia.experiment.trial import train_dense

PLAIN: dict[str, dict[str, Any]] = {
    "network": {"name": "conv5", "width": 0.25, "T": 5},
    "data": {
        "source": "dvs128_objects5",
        "size": 32,
        "validation_share": 0.25,
        "batch_size": 32,
    },
    "training": {"epochs": 12, "learning_rate": 2e-3, "schedule": "cosine"},
    "pruning": {"sparsity": 0.0},
}
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "frames by count": {"data": {"split_by": "count"}},
    "equalised": {"data": {"equalise": True}},
    "shifted": {"data": {"augment": "shift"}},
    "jittered as events": {"data": {"augment": "events"}},
    "64 pixels": {"data": {"size": 64}},
    "T = 2": {"network": {"T": 2}},
    "T = 10": {"network": {"T": 10}},
    "averaged weights": {"training": {"ema": 0.98}},
    "label smoothing": {"training": {"label_smoothing": 0.1}},
    "slow": {"training": {"learning_rate": 5e-4}},
    "tet": {"training": {"loss": "tet"}},
    "decayed": {"training": {"weight_decay": 0.05}},
}


def changed(name: str) -> dict[str, Any]:
    """The plain config with one change."""
    table = {section: dict(values) for section, values in PLAIN.items()}
    for section, values in CHANGES[name].items():
        table[section].update(values)
    return table


def validated(table: dict[str, Any], seed: int) -> float:
    """Accuracy on the last quarter of the training day: mean of the last three epochs."""
    with TemporaryDirectory() as folder:
        config = RunConfig.from_table({**table, "seeds": [seed]})
        bench = Bench.open(config, Path(folder), progress=False)
        epochs = train_dense(bench, seed).history.epochs[-3:]
    return statistics.fmean(e.validation_accuracy or 0.0 for e in epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    print("| | validation accuracy, % |\n|---|---|")

    def look(name: str) -> float:
        found[name] = [validated(changed(name), seed) for seed in range(arguments.seeds)]
        print(f"| {name} | {mean_and_spread(found[name], scale=100)} |", flush=True)
        return statistics.fmean(found[name])

    chosen = max(CHANGES, key=look)
    print(f"\nchosen: {chosen}")
    write(arguments.json, "dvs128_settings", about(), validation=found, chosen=chosen)


if __name__ == "__main__":
    main()
