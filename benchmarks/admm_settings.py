"""From when, over what and how strongly ADMM should draw weights, by validation.

    MICROGLIA_DATA=... python benchmarks/admm_settings.py --json admm_settings.json

On the 5-conv network of tier S at 90 %, for as many steps as there, on a quarter of its images in
batches of a quarter; a seed that no table reports, and no test image.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from itertools import product
from pathlib import Path

from record import about, write

from microglia.experiment.bench import Bench
from microglia.experiment.config import RunConfig
from microglia.experiment.rivals import comparison
from microglia.experiment.tiers import TIERS
from microglia.experiment.trial import train_pruned
from microglia.runtime import keep_freed_memory

SEED = 100
SCOPES = ("global", "layer")
WARMUPS = (1.0, 3.0)
RHOS = (0.01, 0.1, 1.0)
SPARSITY = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    where, rows = about(), []
    print("| weights compared | first update, epoch | rho | validation accuracy, % |")
    print("|---" * 4 + "|")
    for scope, warmup, rho in product(SCOPES, WARMUPS, RHOS):
        accuracy = validated(scope, warmup, rho)
        rows.append({"scope": scope, "warmup": warmup, "rho": rho, "accuracy": accuracy})
        print(f"| {scope} | {warmup:g} | {rho:g} | {100 * accuracy:.1f} |", flush=True)
        write(arguments.json, "admm_settings", where, seed=SEED, sparsity=SPARSITY, rows=rows)


def validated(scope: str, warmup: float, rho: float) -> float:
    """Accuracy on 1,000 images after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.open(config(scope, warmup, rho), Path(folder), progress=False)
        trial = train_pruned(bench, SEED)
    return trial.history.epochs[-1].validation_accuracy or 0.0


def config(scope: str, warmup: float, rho: float) -> RunConfig:
    """ADMM's run in the comparison, on less data, with these settings."""
    run = next(
        job.config
        for job in comparison(TIERS["s"]).jobs()
        if (job.label, job.seed, job.config.pruning.sparsity) == ("admm", 0, SPARSITY)
    )
    options = {**run.pruning.options, "rho": rho, "scope": scope}
    return dataclasses.replace(
        run,
        data=dataclasses.replace(
            run.data, train_rows=(0, 2_500), validation_rows=(20_000, 21_000), batch_size=16
        ),
        pruning=dataclasses.replace(run.pruning, options=options, warmup_epochs=warmup),
        seeds=(SEED,),
    )


if __name__ == "__main__":
    main()
