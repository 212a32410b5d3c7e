"""Which strength lets an emergent method reach the sparsity that it is asked for.

    MICROGLIA_DATA=... python benchmarks/strengths.py stds upr --json strengths.json

On the 5-conv network of tier S, for as many steps as there, on a quarter of its images in batches
of a quarter; a seed that no table reports. Only the sparsity that a method comes to is looked at,
before it is projected: no accuracy. Searched by the secant method on log strength against the log
odds of the sparsity.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

from record import about, write

from microglia.experiment.bench import Bench
from microglia.experiment.config import RunConfig
from microglia.experiment.rivals import comparison
from microglia.experiment.tiers import TIERS
from microglia.experiment.trial import train_dense, train_pruned
from microglia.methods import method_named
from microglia.runtime import keep_freed_memory

SEED = 100
CLOSE = 0.2
"""Part of what is to be left by which the sparsity reached may miss."""
TRIES = 5
LONGEST_STEP = 4.0
STARTS = {
    "stds": 0.2,
    "grad-r": 0.13,
    "soft-deep-r": 0.13,
    "upr": 1e-3,
    "hard-concrete": 3e-3,
    "sd-snn": 0.1,
    "dpap": 1.0,
    "pca": 1e-3,
}
"""The first strength that is tried: for most what a method has by default."""
HIGHEST = {"sd-snn": 0.9, "dpap": 1.9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", choices=list(STARTS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    where, rows = about(), []
    for method in arguments.methods or STARTS:
        strength = STARTS[method]
        for config in configs(method):
            found = search(config, strength)
            rows += found
            strength = found[-1]["strength"]
            write(arguments.json, "strengths", where, seed=SEED, rows=rows)


def configs(method: str) -> list[RunConfig]:
    """The method's runs in the comparison, each on less data."""
    shorter = []
    for job in comparison(TIERS["s"]).jobs():
        if job.label != method or job.seed != 0:
            continue
        data = dataclasses.replace(
            job.config.data,
            train_rows=(0, 2_500),
            validation_rows=(20_000, 20_050),
            batch_size=16,
        )
        shorter.append(dataclasses.replace(job.config, data=data, seeds=(SEED,)))
    return shorter


def search(config: RunConfig, strength: float) -> list[dict[str, Any]]:
    """What was reached with each strength that was tried, the last one close or the last try."""
    wanted = config.pruning.sparsity
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
        if abs(rows[-1]["reached"] - wanted) <= CLOSE * (1 - wanted):
            break
        highest = HIGHEST.get(config.pruning.method, math.inf)
        strength = min(highest, following(rows, wanted))
    return rows


def following(rows: list[dict[str, Any]], wanted: float) -> float:
    """The strength to try next."""
    points = [(math.log(row["strength"]), odds(row["reached"])) for row in rows[-2:]]
    slope = 1.0
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        slope = (y1 - y0) / (x1 - x0) if (y1 - y0) * (x1 - x0) > 0 else slope
    x, y = points[-1]
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
        trained = method_named(pruning.method).needs == "trained"
        dense = train_dense(bench, SEED).model if trained else None
        trial = train_pruned(bench, SEED, dense=dense)
    assert trial.reached is not None
    return round(trial.reached, 4)


if __name__ == "__main__":
    main()
