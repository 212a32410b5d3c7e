"""CIFAR-10 from Parquet to the first batch, decoded and from the cache, each in a fresh process.

MICROGLIA_DATA=... python benchmarks/loading.py --json loading.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from record import about, write

LOAD = """
import json, resource, time
began = time.perf_counter()
import torch
imported = time.perf_counter()
from microglia.data import Batches, load_splits
splits = load_splits("cifar10", validation_rows=range(20_000, 22_000))
next(iter(Batches(splits.train, batch_size=64)))
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"import torch": imported - began, "load": done - imported, "GiB": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "cached"):
            process = subprocess.run(
                [sys.executable, "-c", LOAD],
                env={**os.environ, "MICROGLIA_CACHE": cache},
                stdout=subprocess.PIPE,
                check=True,
            )
            found[state] = json.loads(process.stdout)
            print(state, " ".join(f"{k} {v:.2f}" for k, v in found[state].items()))
    write(arguments.json, "loading", about(), **found)


if __name__ == "__main__":
    main()
