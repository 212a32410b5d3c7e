"""What gates, scores, penalty and updates add to a training step of the 5-conv network.

Interleaved pairs: a plain step, then a step with SCA (forward with gates, scores, penalty,
`pruner.step()`), on two copies of the same network and the same batch. Prints the median ratio
with a 95 % interval (percentile bootstrap over the pairs); asserts nothing.

    python benchmarks/training_overhead.py [--width 1.0] [--batch 32] [--pairs 40] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import about, write
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.networks import build

SEED = 0


def stepper(
    model: nn.Module, x: Tensor, y: Tensor, pruner: mg.Pruner | None, every: int
) -> Callable[[], None]:
    optimizer = (
        pruner.optimizer
        if pruner is not None and pruner.optimizer is not None
        else torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    )

    def step() -> None:
        mg.reset(model)
        loss = cross_entropy(model(x), y)
        if pruner is not None:
            loss = loss + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if pruner is not None:
            pruner.step()

    return step


def interval(ratios: list[float]) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(SEED)
    values = torch.tensor(ratios)
    draws = torch.randint(len(ratios), (2000, len(ratios)), generator=generator)
    medians = values[draws].median(1).values
    return float(medians.quantile(0.025)), float(medians.quantile(0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--every", type=int, default=10, help="steps between mask updates")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    where = about(args.device)
    torch.manual_seed(SEED)
    model = build("conv5", classes=10, channels=3, T=4, width=args.width).to(args.device)
    x = torch.rand(args.batch, 3, 32, 32, device=args.device)
    y = torch.randint(10, (args.batch,), device=args.device)
    gated = copy.deepcopy(model)
    optimizer = torch.optim.SGD(gated.parameters(), lr=0.01, momentum=0.9)
    pruner = mg.SCA(
        gated, sparsity=args.sparsity, example_input=x[:1], optimizer=optimizer, every=args.every
    )
    plain, pruned = stepper(model, x, y, None, args.every), stepper(gated, x, y, pruner, args.every)
    times: dict[str, list[float]] = {"plain": [], "pruned": []}
    for i in range(args.pairs + 3):
        pair = [("plain", plain), ("pruned", pruned)]
        for name, step in pair if i % 2 else pair[::-1]:
            start = time.perf_counter()
            step()
            if args.device.startswith("cuda"):
                torch.cuda.synchronize()
            if i >= 3:
                times[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(times["plain"], times["pruned"], strict=True)]
    low, high = interval(ratios)
    total = sum(times["pruned"]) / sum(times["plain"])
    result = {
        "seed": SEED,
        **{k: v for k, v in vars(args).items() if k != "json"},
        "plain_ms": 1e3 * statistics.median(times["plain"]),
        "pruned_ms": 1e3 * statistics.median(times["pruned"]),
        "median_ratio": statistics.median(ratios),
        "interval_95": [low, high],
        "ratio_of_totals": total,
    }
    print(
        f"5-conv, width {args.width}, batch {args.batch}, {args.pairs} interleaved pairs\n"
        f"plain  {result['plain_ms']:8.1f} ms\npruned {result['pruned_ms']:8.1f} ms\n"
        f"median ratio {result['median_ratio']:.3f}, 95 % interval {low:.3f} to {high:.3f}; "
        f"ratio of totals (updates included) {total:.3f}"
    )
    write(args.json, "training_overhead", where, **result)


if __name__ == "__main__":
    main()
