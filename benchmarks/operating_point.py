"""Whether recurrence is worth having where networks are pruned: `HRSNNConfig()`, seeds 0 to 2.

    python benchmarks/operating_point.py --json results/benchmarks/operating_point.json

Dense networks and the same ones without recurrence, before any pruning: rates under smooth noise,
digits by rows on the validation part, linear memory capacity, the error of Lorenz's next point.
The bars: each network at 15 to 40 Hz; on average 0.04 more on digits and 0.4 more memory with
recurrence.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from record import about, write

from microglia.frameworks import RecurrentNetwork
from microglia.lyapunov.noise import smooth_noise
from microglia.networks import HRSNNConfig
from microglia.simulation import simulate
from microglia.tasks import run_task

SEEDS = (0, 1, 2)
RATE, DIGITS, MEMORY = (15.0, 40.0), 0.04, 0.4


def rate(network: RecurrentNetwork, *, duration: float = 4.0) -> float:
    """Hz, under smooth noise."""
    assert network.inputs is not None
    drive = smooth_noise(
        network.inputs.shape[1],
        duration=duration,
        dt=network.dt,
        generator=np.random.default_rng(0),
    )
    return len(simulate(network, drive).steps) / (len(network) * duration)


def measured(network: RecurrentNetwork, seed: int) -> dict[str, float]:
    digits = run_task("digits", network, seed=seed, brief=True)
    lorenz = run_task("lorenz", network, seed=seed, brief=True)
    return {
        "rate": rate(network),
        "digits": digits["validation"],
        "memory": run_task("memory", network, seed=seed)["capacity"],
        "lorenz": lorenz["nrmse"],
        "rate_lorenz": lorenz["rate"],
        "synops_lorenz": lorenz["synops"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    where = about()
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        dense = HRSNNConfig().draw(seed)
        alone = dense.with_weights(dense.weights * 0)
        for label, network in (("dense", dense), ("no recurrence", alone)):
            rows.append({"seed": seed, "network": label, **measured(network, seed)})
            print(rows[-1], flush=True)
    means = {
        label: {
            key: float(np.mean([row[key] for row in rows if row["network"] == label]))
            for key in ("rate", "digits", "memory", "lorenz")
        }
        for label in ("dense", "no recurrence")
    }
    rates = [row["rate"] for row in rows if row["network"] == "dense"]
    more = {key: means["dense"][key] - means["no recurrence"][key] for key in ("digits", "memory")}
    bars = {
        "rate": RATE[0] <= min(rates) and max(rates) <= RATE[1],
        "digits": more["digits"] >= DIGITS,
        "memory": more["memory"] >= MEMORY,
    }
    print(means, more, bars, sep="\n")
    write(arguments.json, "operating_point", where, rows=rows, means=means, more=more, bars=bars)


if __name__ == "__main__":
    main()
