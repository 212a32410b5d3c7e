"""Time and memory of the synapse step of Lyapunov noise pruning, over the size of the network.

    python benchmarks/lnp_scaling.py --json lnp_scaling.json

Random networks of 50 synapses a neuron, 20 % of the neurons inhibitory; 20 % of the synapses are
kept. Each size runs in a process of its own, on one thread, so that its peak memory is its own; the
step is the linearisation, the covariance, the scores, the probabilities, the draw and the pruned
matrix. Compiling is not counted. Then the series of the covariance against the dense solver.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import about, write
from scipy import sparse
from scipy.stats import spearmanr

from microglia.lyapunov.covariance import covariance
from microglia.lyapunov.keep import keep_scores
from microglia.lyapunov.linearisation import linearise
from microglia.lyapunov.sampling import pruned, systematic, water_filling

SIZES = (2_000, 6_000, 20_000, 60_000, 200_000)
DEGREE = 50
REACH = 0.4  # the effective weights' rightmost eigenvalue, as measured on a network at work


def network(N: int, seed: int) -> dict[str, Any]:
    """Weights, time constants, gains and rates of N neurons."""
    rng = np.random.default_rng(seed)
    post, pre = np.repeat(np.arange(N), DEGREE), rng.integers(N, size=N * DEGREE)
    sign = np.where(rng.random(N) < 0.2, -4.0, 1.0)
    values = rng.lognormal(0, 0.8, size=N * DEGREE) * sign[pre]
    # The circular law: N i.i.d. entries of this second moment in a row reach to 1.
    gains = rng.gamma(2, 10, size=N)
    values *= REACH / np.sqrt(DEGREE * np.mean((values * gains[pre]) ** 2)) / 5e-3
    return {
        "weights": sparse.coo_array((values, (post, pre)), shape=(N, N)).tocsr(),
        "tau_m": rng.gamma(3, 0.02 / 3, size=N) + 1e-3,
        "gains": gains,
        "rates": rng.lognormal(0, 0.8, size=N),
    }


def one_size(N: int) -> dict[str, Any]:
    """Seconds of each part, and the peak memory of this process, which holds one network."""
    packages = _peak()
    for size in (1_600, N):  # The first one, above what is solved exactly, compiles.
        net = network(size, seed=0)
        clock = [time.perf_counter()]
        linear = linearise(net["weights"], net["tau_m"], tau_s=5e-3, gains=net["gains"])
        clock.append(time.perf_counter())
        C = covariance(linear)
        clock.append(time.perf_counter())
        scores = keep_scores(net["weights"], linear, net["rates"], covariance_of=lambda _, C=C: C)
        clock.append(time.perf_counter())
        p = water_filling(scores, round(0.2 * len(scores)))
        kept = systematic(p, np.random.default_rng(0))
        small = pruned(net["weights"], p, kept)
        clock.append(time.perf_counter())
    seconds = np.diff(clock).tolist()
    return {
        "N": N,
        "synapses": net["weights"].nnz,
        "kept": small.nnz,
        "covariance": C.method,
        "abscissa": linear.abscissa,
        "seconds": sum(seconds),
        "parts": dict(zip(("linearise", "covariance", "scores", "draw"), seconds, strict=True)),
        "GiB": _peak(),
        "GiB_without_packages": _peak() - packages,
    }


def _peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def against_the_solver(N: int) -> dict[str, Any]:
    """How much faster than the dense solver the series is, and how near its ranking."""
    net = network(N, seed=1)
    linear = linearise(net["weights"], net["tau_m"], tau_s=5e-3, gains=net["gains"])
    covariance(linear, method="series")
    seconds, ranks = {}, []
    for method in ("series", "exact"):
        start = time.perf_counter()
        C = covariance(linear, method=method)
        seconds[method] = time.perf_counter() - start
        ranks.append(
            keep_scores(net["weights"], linear, net["rates"], covariance_of=lambda _, C=C: C)
        )
    return {
        "N": N,
        "seconds": seconds,
        "times_faster": seconds["exact"] / seconds["series"],
        "spearman": float(spearmanr(*ranks).statistic),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--dense", type=int, default=2_000, help="neurons for the dense solver")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one_size(arguments.one)))
        return
    print("| neurons | synapses | covariance | s | linearise | covariance | GiB |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for N in arguments.sizes:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(N)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        row = json.loads(done.stdout)
        rows.append(row)
        parts = row["parts"]
        print(
            f"| {N} | {row['synapses']} | {row['covariance']} | {row['seconds']:.2f} "
            f"| {parts['linearise']:.2f} | {parts['covariance']:.2f} | {row['GiB']:.2f} |",
            flush=True,
        )
    size = np.log([row["synapses"] for row in rows])
    exponents = {
        name: float(np.polyfit(size, np.log([row[name] for row in rows]), 1)[0])
        for name in ("seconds", "GiB_without_packages")
    }
    print("grows with synapses to the power", {k: round(v, 2) for k, v in exponents.items()})
    solver = against_the_solver(arguments.dense)
    print(
        f"N = {solver['N']}: {solver['times_faster']:.0f} times faster than the dense solver, "
        f"Spearman {solver['spearman']:.4f}"
    )
    write(
        arguments.json,
        "lnp_scaling",
        about(),
        rows=rows,
        exponents=exponents,
        solver=solver,
    )


if __name__ == "__main__":
    main()
