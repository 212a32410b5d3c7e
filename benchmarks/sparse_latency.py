"""What zeros are worth: bytes and time of one network, dense, as CSR matrices, and cut.

    python benchmarks/sparse_latency.py --json sparse_latency.json

The largest weights of an untrained 5-conv network stay, over all layers; its channels that nothing
reads any more are taken out. Latencies are side by side, norms folded, as ratios to the dense one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from record import about, write

import microglia as mg
from microglia.metrics import compare_latency
from microglia.networks import build
from microglia.runtime import accelerate, csr_bytes, sparsify


def megabytes(model: torch.nn.Module, *, csr: bool) -> float:
    """Of the weights with two axes or more."""
    weights = [p.detach() for p in model.parameters() if p.dim() > 1]
    return sum(csr_bytes(w) if csr else w.numel() * w.element_size() for w in weights) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dense = build("conv5", classes=10, channels=3, T=4, width=arguments.width).eval()
    images = torch.rand(arguments.batch, 3, 32, 32)
    fast = accelerate(dense, example_input=images)
    print("| weights kept | MB dense | MB as CSR | MB cut | time as CSR | time cut |")
    print("|---|---|---|---|---|---|")
    found = []
    for kept in (0.2, 0.1, 0.05, 0.02, 0.01):
        pruner = mg.WeightMagnitude(dense, example_input=images, sparsity=1 - kept)
        weights = {n: w.detach().clone() for n, w in dense.state_dict().items() if "gate" not in n}
        pruner.calibrate()
        cut = pruner.compact().model
        pruner.detach()
        small = accelerate(cut, example_input=images)
        models = {"dense": fast, "csr": sparsify(small, density=1.0), "cut": small}
        clocks = compare_latency(models, images, repeats=arguments.repeats)
        times = {n: 1 / clocks[n].speedup_over(clocks["dense"])[0] for n in ("csr", "cut")}
        sizes = [megabytes(dense, csr=False), megabytes(cut, csr=True), megabytes(cut, csr=False)]
        cells = [f"{kept:.2f}", *(f"{s:.2f}" for s in sizes), *(f"×{times[n]:.2f}" for n in times)]
        print("| " + " | ".join(cells) + " |", flush=True)
        found.append({"kept": kept, "megabytes": sizes, "times": times})
        dense.load_state_dict(weights)
    where = about()
    write(arguments.json, "sparse_latency", where, width=arguments.width, rows=found)


if __name__ == "__main__":
    main()
