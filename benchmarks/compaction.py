"""How long analysing and compacting VGG16 takes, certificate included. Asserts nothing.

python benchmarks/compaction.py [--sparsity 0.7] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from record import about, write

import microglia as mg
from microglia.gates import Gates
from microglia.networks import build
from microglia.surgery import compact

SEED = 0
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sparsity", type=float, default=0.7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    where = about()
    torch.manual_seed(SEED)
    model = build("vgg16", classes=10, channels=3, T=4)
    for norm in (
        m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ):
        torch.nn.init.uniform_(norm.bias, 0.2, 0.9)  # untrained it would be silent
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        model(x)  # SpikingJelly loads PyTorch's compiler at its first forward; not ours to time
    analysing, compacting = [], []
    for _ in range(REPEATS):
        mg.reset(model)
        start = time.perf_counter()
        structure = mg.analyse(model, x)
        analysing.append(time.perf_counter() - start)
        gates = Gates(model, structure)
        keep = {g.name: torch.rand(g.size) >= args.sparsity for g in structure.groups}
        gates.set(keep)
        start = time.perf_counter()
        small = compact(model, structure, keep, example_input=x)
        compacting.append(time.perf_counter() - start)
        gates.remove()
    result = {
        "seed": SEED,
        "sparsity": args.sparsity,
        "analyse_s": statistics.median(analysing),
        "compact_s": statistics.median(compacting),
        "certificate": str(small.certificate),
    }
    print(
        f"VGG16: analyse {result['analyse_s']:.2f} s, compact with certificate "
        f"{result['compact_s']:.2f} s (medians of {REPEATS})\n{small.certificate}"
    )
    write(args.json, "compaction", where, **result)


if __name__ == "__main__":
    main()
