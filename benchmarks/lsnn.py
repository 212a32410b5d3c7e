"""An LSNN with Deep R beside a dense one and fixed random connections, at equal connectivity.

    MICROGLIA_DATA=... python benchmarks/lsnn.py --data natops --json natops.json

Digits come pixel by pixel, 64 steps of one grey level as spikes of 16 inputs, each with a threshold
of its own; NATOPS as 51 steps of 24 coordinates. All networks share their settings, which were
chosen for the dense one on the validation split (of NATOPS, a quarter of the training part);
`--validate` measures it there, and never looks at the test part.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from record import about, write
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import microglia as mg
from microglia.data import Images, load_splits
from microglia.data.sequences import Sequences, load_sequences
from microglia.experiment.statistics import mean_and_spread, paired_difference
from microglia.methods import METHODS, Pruner
from microglia.metrics import measure_accuracy
from microglia.networks.lsnn import LSNN
from microglia.training import TrainingConfig, build_optimizer, train

CONNECTIVITY = (0.12, 0.05)
ROWS = [
    ("dense", 1.0),
    *((m, kept) for kept in CONNECTIVITY for m in ("deep-r", "random-weights")),
]
STRENGTH = 0.01  # of the L1 term, as in the paper's code
LEVELS = torch.arange(1, 17) * (255 / 17)  # of grey


@dataclass(frozen=True)
class Setting:
    """What a data set's networks have in common."""

    network: dict[str, Any]
    epochs: int
    learning_rate: float
    batch_size: int


NETWORK = {"neurons": 100, "tau": 5.0, "tau_a": 32.0, "beta": 4.0}
SETTINGS = {
    "digits": Setting(NETWORK, epochs=16, learning_rate=2e-2, batch_size=64),
    "natops": Setting(NETWORK, epochs=30, learning_rate=2e-2, batch_size=36),
}

Part = tuple[Tensor, Tensor]  # values [N, T, V] and labels [N]


def digits(*, validate: bool) -> tuple[Part, Part]:
    def spikes(images: Images) -> Part:
        pixels = images.images.flatten(1).unsqueeze(-1)
        return (pixels > LEVELS).float(), images.labels

    data = load_splits("digits")
    return spikes(data.train), spikes(data.validation if validate else data.test)


def natops(*, validate: bool) -> tuple[Part, Part]:
    def part(data: Sequences, rows: Tensor | slice = slice(None)) -> Part:
        return data.scaled_like(training).values[rows], data.labels[rows]

    training = load_sequences("sequences/NATOPS.npz", split="train")
    if not validate:
        return part(training), part(load_sequences("sequences/NATOPS.npz", split="test"))
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))
    held_out = len(order) // 4
    return part(training, order[held_out:]), part(training, order[:held_out])


PARTS = {"digits": digits, "natops": natops}


def batches(part: Part, size: int, *, seed: int | None) -> DataLoader[Any]:
    """Sequences [T, N, V], time first; in order without a seed."""

    def collate(rows: list[tuple[Tensor, Tensor]]) -> Part:
        values, labels = zip(*rows, strict=True)
        return torch.stack(values, 1), torch.stack(labels)

    shuffled = seed is not None
    generator = torch.Generator().manual_seed(seed or 0)
    return DataLoader(
        TensorDataset(*part), size, shuffle=shuffled, generator=generator, collate_fn=collate
    )


def run(data: str, method: str, kept: float, *, seed: int, validate: bool) -> dict[str, float]:
    """Accuracy of the compacted network on the test, or validation, part; and what is left."""
    setting = SETTINGS[data]
    training, unseen = PARTS[data](validate=validate)
    torch.manual_seed(seed)
    network = LSNN(
        inputs=training[0].shape[-1], classes=int(training[1].max()) + 1, **setting.network
    )
    whole = _connections(network)
    config = TrainingConfig(
        epochs=setting.epochs, learning_rate=setting.learning_rate, gradient_clip=5.0
    )
    optimizer = build_optimizer(network, config)
    loader = batches(training, setting.batch_size, seed=seed)
    pruner: Pruner | None = None
    if method != "dense":
        settings: dict[str, Any] = {
            "sparsity": 1 - kept,
            "example_input": training[0][:2].transpose(0, 1),
            "optimizer": optimizer,
            "seed": seed,
        }
        if method == "deep-r":  # each matrix keeps its share, as random masks do
            last = len(loader) * setting.epochs * 3 // 4
            settings |= {"scope": "layer", "every": len(loader), "until": last}
            settings["strength"] = STRENGTH
        pruner = METHODS[method](network, **settings)
        with torch.no_grad():  # first weights are as large as the connections are few
            for weight in pruner.masks.weights.values():
                weight.mul_(kept**-0.5)
    begun = time.perf_counter()
    train(network, loader, config=config, optimizer=optimizer, pruner=pruner, progress=False)
    seconds = time.perf_counter() - begun
    left = network if pruner is None else pruner.compact().model
    assert isinstance(left, LSNN)
    return {
        "accuracy": measure_accuracy(left, batches(unseen, 100, seed=None)),
        "connections": _connections(left) / whole,
        "neurons": len(left.cell.neuron.beta),
        "rate": _rate(left, unseen[0]),
        "seconds": seconds,
    }


def _connections(network: LSNN) -> int:
    return sum(int((p != 0).sum()) for p in network.parameters() if p.dim() > 1)


@torch.no_grad()
def _rate(network: LSNN, values: Tensor) -> float:
    """Spikes of a neuron in a step."""
    mg.reset(network)
    rate = float(network.cell(values.transpose(0, 1)).mean())
    mg.reset(network)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", choices=tuple(SETTINGS), nargs="+", default=list(SETTINGS))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    where = about()
    rows = ROWS[:1] if arguments.validate else ROWS
    part = "validation" if arguments.validate else "test"
    found: list[dict[str, Any]] = []
    print(
        f"| | | {part} accuracy, % | Deep R − these, points, paired 95 % interval | connections, % "
        "| neurons | firing rate | s a run |\n|---|---|---|---|---|---|---|---|"
    )
    for data in arguments.data:
        accuracies: dict[tuple[str, float], dict[int, float]] = {}
        for method, kept in rows:
            runs = [
                run(data, method, kept, seed=seed, validate=arguments.validate)
                for seed in range(arguments.seeds)
            ]
            found += [
                {"data": data, "method": method, "kept": kept, "seed": seed, **figures}
                for seed, figures in enumerate(runs)
            ]
            accuracies[method, kept] = {seed: r["accuracy"] for seed, r in enumerate(runs)}
            mean = {key: sum(r[key] for r in runs) / len(runs) for key in runs[0]}
            more = "–"
            if method == "random-weights":
                mine, random = accuracies["deep-r", kept], accuracies[method, kept]
                difference = paired_difference(mine, random)
                more = "–" if difference is None else difference.text(scale=100)
            name = method if method == "dense" else f"{method}, {100 * kept:.0f} %"
            print(
                f"| {data} | {name} | {mean_and_spread([r['accuracy'] for r in runs], scale=100)} "
                f"| {more} | {100 * mean['connections']:.1f} | {mean['neurons']:.0f} "
                f"| {mean['rate']:.3f} | {mean['seconds']:.0f} |",
                flush=True,
            )
    settings = {name: asdict(setting) for name, setting in SETTINGS.items()}
    write(arguments.json, "lsnn", where, part=part, settings=settings, runs=found)


if __name__ == "__main__":
    main()
