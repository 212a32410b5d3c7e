"""Training steps of the 5-conv network: microglia's way beside a plain SpikingJelly loop.

Both train the same network on the same batch. The plain loop shows the image T times to
SpikingJelly's own layers, as its examples do; ours shows it once to the first layer and trains
under `accelerated_training`. Steps are interleaved; gradients of one step are compared; peak memory
is that of a process of its own for each, at several T (Linux only). Asserts nothing.

    python benchmarks/training_speed.py [--width 1.0] [--batch 32] [--pairs 20] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from record import about, write
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.networks import build
from microglia.runtime import accelerated_training, keep_freed_memory

SEED = 0
WAYS = ("plain", "microglia")


class Shown(nn.Module):
    """The image repeated T times, every layer computed at every timestep."""

    def __init__(self, network: nn.Module, T: int) -> None:
        super().__init__()
        self.network, self.T = network, T

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))
        return logits


def steps(
    way: str, network: nn.Module, x: Tensor, y: Tensor, *, T: int, precision: str
) -> tuple[Callable[[], None], nn.Module]:
    """One training step as a function, and the network that it trains."""
    network = copy.deepcopy(network)
    model = Shown(network, T) if way == "plain" else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        mg.reset(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = cross_entropy(model(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, network


def around(way: str, network: nn.Module, x: Tensor) -> object:
    return nullcontext() if way == "plain" else accelerated_training(network, example_input=x)


def largest_difference(a: nn.Module, b: nn.Module) -> float:
    """The largest |g_a − g_b| of any weight, over the largest |g_a| of its tensor."""
    worst = 0.0
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        if p.grad is not None and q.grad is not None and p.dim() > 1:
            worst = max(worst, float((p.grad - q.grad).abs().max() / p.grad.abs().max()))
    return worst


def compare(args: argparse.Namespace, precision: str) -> dict[str, object]:
    """Interleaved steps of both ways, and the gradients of one step from equal weights."""
    network, x, y = setting(args, T=args.T)
    both = {way: steps(way, network, x, y, T=args.T, precision=precision) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    with around("microglia", both["microglia"][1], x):  # type: ignore[attr-defined]
        for i in range(args.pairs + 2):
            for way in WAYS if i % 2 else WAYS[::-1]:
                start = time.perf_counter()
                both[way][0]()
                times[way].append(time.perf_counter() - start)
    ratios = sorted(
        a / b for a, b in list(zip(times["plain"], times["microglia"], strict=True))[2:]
    )
    double = {
        way: steps(way, network.double(), x.double(), y, T=args.T, precision="float64")
        for way in WAYS
    }
    for way in WAYS:
        with around(way, double[way][1], x.double()):  # type: ignore[attr-defined]
            double[way][0]()
    result = {
        "precision": precision,
        **{f"{way}_images_per_s": args.batch / statistics.median(times[way][2:]) for way in WAYS},
        "speedup": statistics.median(ratios),
        "speedup_quartiles": [ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]],
        "gradients_differ_by_float64": largest_difference(
            double["plain"][1], double["microglia"][1]
        ),
    }
    low, high = result["speedup_quartiles"]
    print(
        f"{precision:>9}: plain {result['plain_images_per_s']:6.1f} images/s, microglia "
        f"{result['microglia_images_per_s']:6.1f} images/s: {result['speedup']:.2f} times as fast "
        f"[{low:.2f}, {high:.2f}]; gradients in float64 differ by "
        f"{result['gradients_differ_by_float64']:.1e}"
    )
    return result


def setting(args: argparse.Namespace, *, T: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(SEED)
    network = build("conv5", classes=10, channels=3, T=T, width=args.width)
    x = torch.rand(args.batch, 3, 32, 32)
    return network, x, torch.randint(10, (args.batch,))


def peak_mb(args: argparse.Namespace, way: str, T: int) -> float:
    """Peak memory of three training steps, over what the process held before them."""
    own = [sys.executable, __file__, "--way", way, "--T", str(T)]
    own += ["--width", str(args.width), "--batch", str(args.batch)]
    return float(subprocess.run(own, capture_output=True, text=True, check=True).stdout)


def train_alone(args: argparse.Namespace) -> None:
    """What `peak_mb` measures, in a process of its own."""
    network, x, y = setting(args, T=args.T)
    step, trained = steps(args.way, network, x, y, T=args.T, precision="float32")
    before = process_kb("VmRSS")
    with around(args.way, trained, x):  # type: ignore[attr-defined]
        for _ in range(3):
            step()
    print((process_kb("VmHWM") - before) / 1024)


def process_kb(field: str) -> int:
    """A line of /proc/self/status: VmRSS is the memory held now, VmHWM the most ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--T", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="let both keep freed memory")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.way:
        train_alone(args)
        return
    if args.keep:
        keep_freed_memory()
    where = about()
    precisions = ["float32"]
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        precisions.append("bfloat16")
    speed = [compare(args, precision) for precision in precisions]
    memory = {}
    for T in (2, 4, 8):
        memory[T] = {way: peak_mb(args, way, T) for way in WAYS}
        ratio = memory[T]["microglia"] / memory[T]["plain"]
        print(f"T={T}: peak {memory[T]['plain']:.0f} MB plain, {ratio:.2f} of it with microglia")
    settings = {k: v for k, v in vars(args).items() if k not in ("json", "way")}
    write(args.json, "training_speed", where, seed=SEED, **settings, speed=speed, peak_mb=memory)


if __name__ == "__main__":
    main()
