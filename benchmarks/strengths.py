"""Which strength lets an emergent method reach the sparsity that it is asked for.

    MICROGLIA_DATA=... python benchmarks/strengths.py stds upr --json strengths.json

On the 5-conv network of tier S, with its images, batches and learning rates, up to the step at
which the method is projected; a seed that no table reports. Only the sparsity that the method comes
to is looked at: no accuracy. Searched by the secant method on log strength against the log odds of
the sparsity; one that isn't met in so many tries is an error, unless the strength is at its end.
The file keeps the rows of methods that aren't searched again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from record import about, write

from microglia.experiment.bench import Bench
from microglia.experiment.config import RunConfig
from microglia.experiment.rivals import STRENGTHS, comparison
from microglia.experiment.tiers import TIERS
from microglia.experiment.trial import train_pruned
from microglia.runtime import keep_freed_memory
from microglia.training import TrainingConfig

SEED = 100
CLOSE = 0.2
"""Part of what is to be left by which the sparsity reached may miss."""
TRIES = 8
LONGEST_STEP = 4.0
HIGHEST = {"sd-snn": 0.9, "dpap": 1.9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", choices=list(STRENGTHS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    methods = arguments.methods or list(STRENGTHS)
    where, rows = about(), kept(arguments.json, but=methods)
    for method in methods:
        for config in configs(method):
            rows += search(config)
            write(arguments.json, "strengths", where, seed=SEED, rows=rows)


def kept(file: Path | None, *, but: list[str]) -> list[dict[str, Any]]:
    """The rows of other methods in a file of before, with the commit that they are of."""
    if file is None or not file.exists():
        return []
    before = json.loads(file.read_text())
    rows = [row for row in before["rows"] if row["method"] not in but]
    return [{"commit": before["commit"], **row} for row in rows]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beginning(TrainingConfig):
    """The first epochs of a training of so many."""

    of_epochs: int

    def learning_rate_factor(self, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
        return super().learning_rate_factor(
            step, total_steps=self.of_epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch
        )


def configs(method: str) -> list[RunConfig]:
    """The method's runs in the comparison, each up to its projection."""
    return [
        until_projected(job.config)
        for job in comparison(TIERS["s"]).jobs()
        if job.label == method and job.seed == 0
    ]


def until_projected(config: RunConfig) -> RunConfig:
    training = dataclasses.asdict(config.training)
    last = config.pruning.until_epochs
    assert last is not None
    assert last == int(last), "whole epochs are trained"
    training |= {"epochs": int(last), "of_epochs": config.training.epochs}
    return dataclasses.replace(
        config,
        training=Beginning(**training),
        data=dataclasses.replace(config.data, validation_rows=(20_000, 20_050)),
        seeds=(SEED,),
    )


def search(config: RunConfig) -> list[dict[str, Any]]:
    """What was reached with each strength that was tried, the one in use first, the last close."""
    wanted, strength = config.pruning.sparsity, config.pruning.options["strength"]
    assert wanted is not None
    rows: list[dict[str, Any]] = []
    for _ in range(TRIES):
        row = {
            "method": config.pruning.method,
            "wanted": wanted,
            "strength": float(f"{strength:.3g}"),
        }
        rows.append({**row, "reached": reached(config, row["strength"])})
        print(rows[-1], flush=True)
        highest = HIGHEST.get(config.pruning.method, math.inf)
        weak = strength == highest and rows[-1]["reached"] < wanted
        if weak or abs(rows[-1]["reached"] - wanted) <= CLOSE * (1 - wanted):
            return rows
        strength = min(highest, following(rows, wanted))
    raise SystemExit(f"{config.pruning.method}: {wanted:g} not met in {TRIES} tries: {rows}")


def following(rows: list[dict[str, Any]], wanted: float) -> float:
    """The strength to try next: between the nearest on either side, else beyond the nearest two."""
    points = [(math.log(row["strength"]), odds(row["reached"])) for row in rows]
    points.sort(key=lambda point: abs(point[1] - odds(wanted)))
    x, y = points[0]
    across = [p for p in points if (p[1] > odds(wanted)) != (y > odds(wanted))]
    slope = 1.0
    for x1, y1 in (across or points[1:])[:1]:
        slope = (y1 - y) / (x1 - x) if (y1 - y) * (x1 - x) > 0 else slope
    longest = math.log(LONGEST_STEP)
    return math.exp(x + max(-longest, min(longest, (odds(wanted) - y) / slope)))


def odds(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


def reached(config: RunConfig, strength: float) -> float:
    """The sparsity that the method comes to."""
    options = {**config.pruning.options, "strength": strength}
    pruning = dataclasses.replace(config.pruning, options=options)
    config = dataclasses.replace(config, pruning=pruning)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.open(config, Path(folder), progress=False)
        trial = train_pruned(bench, SEED)
    assert trial.reached is not None
    return round(trial.reached, 4)


if __name__ == "__main__":
    main()
