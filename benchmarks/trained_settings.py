"""Whether learning through time is worth its seconds where trained networks are compared.

    MICROGLIA_DATA=... python benchmarks/trained_settings.py --json trained_settings.json

Dense networks of the seeds 0 to 2, which no table reports, before and after learning at the
settings of `TrainedJob`, on the validation part: accuracy, and Lorenz's error a step ahead.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from record import about, write

from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.experiment.recurrent.trained_job import SETTINGS, TrainedJob

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    arguments = parser.parse_args()
    where = about()
    rows: list[dict[str, Any]] = []
    for task in arguments.tasks:
        for seed in arguments.seeds:
            row: dict[str, Any] = {"task": task, "seed": seed}
            for rule in ("none", "through time"):
                job = TrainedJob(
                    task=task, label=rule, budget=Budget(rule="dense"), seed=seed, rule=rule
                )
                with tempfile.TemporaryDirectory() as folder:
                    record = job.do({}, folder=Path(folder), progress=False)
                row[rule] = record["figures"]["validation"]
                row["rate" if rule == "none" else "rate after"] = record["figures"]["rate"]
            row["seconds"] = record["training"]
            rows.append(row)
            print(row, flush=True)
    write(arguments.json, "trained_settings", where, rows=rows)


if __name__ == "__main__":
    main()
