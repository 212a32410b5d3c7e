"""How much faster VGG16 gets when channels are removed, both sides on the fastest path.

The paper's VGG16 (T=4, 32x32 images) is compacted under masks that close the same fraction of its
convolutions' channels: `uniform`, the same fraction of every layer, also in multiples of 16,
`deep`, more of each deeper layer, as SCA's published masks do, and the mask that SCA chooses in
`--steps` training steps on the first thousand images. Dense and compact networks are accelerated
and timed in turn. Asserts nothing.

    python benchmarks/latency_vgg16.py [--sparsity 0.7] [--batch 32] [--steps 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from record import about, write
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.data import Batches, Images, load_images
from microglia.gates import Gates
from microglia.metrics.latency import Latency, compare_latency
from microglia.networks import build
from microglia.runtime import accelerate, keep_freed_memory
from microglia.structure import Structure
from microglia.surgery import compact

SEED = 0
TARGET = 0.65


@dataclass(frozen=True)
class Comparison:
    """A dense network against its compacted form: one forward pass of the whole batch each."""

    dense_ms: float
    dense_quartiles_ms: tuple[float, float]
    compact_ms: float
    compact_quartiles_ms: tuple[float, float]
    speedup: float
    """Median of the paired ratios of times."""
    speedup_quartiles: tuple[float, float]
    dense_macs: int
    compact_macs: int

    @property
    def macs_ratio(self) -> float:
        return self.dense_macs / self.compact_macs

    @property
    def efficiency(self) -> float:
        """Which part of the saved multiply-accumulates is saved time."""
        return self.speedup / self.macs_ratio


def compare(dense: nn.Module, small: nn.Module, x: Tensor, *, repeats: int) -> Comparison:
    """Accelerate both networks and time them in turn on the same input."""
    models = {
        name: accelerate(model, example_input=x[:1])
        for name, model in (("dense", dense), ("compact", small))
    }
    times: dict[str, Latency] = compare_latency(models, x, repeats=repeats)
    speedup, low, high = times["compact"].speedup_over(times["dense"])
    return Comparison(
        dense_ms=times["dense"].median_ms,
        dense_quartiles_ms=times["dense"].quartiles_ms,
        compact_ms=times["compact"].median_ms,
        compact_quartiles_ms=times["compact"].quartiles_ms,
        speedup=speedup,
        speedup_quartiles=(low, high),
        dense_macs=executed_macs(dense, x[:1]),
        compact_macs=executed_macs(small, x[:1]),
    )


def executed_macs(model: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in one forward pass, as executed.

    Padding counts; a first layer that is computed once for all timesteps counts once.
    """
    total = 0

    def count(module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal total
        total += y.numel() * module.weight[0].numel()

    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [m.register_forward_hook(count) for m in layers]
    mg.reset(model)
    with torch.no_grad():
        model(x)
    mg.reset(model)
    for handle in handles:
        handle.remove()
    return total


def uniform(widths: list[int], sparsity: float) -> list[int]:
    """Channels kept in each layer: the same fraction of all."""
    return [max(1, round(c * (1 - sparsity))) for c in widths]


def deep(widths: list[int], sparsity: float) -> list[int]:
    """Channels kept in layer l: C_l · exp(−a·l), with a such that the whole fraction is right."""
    low, high = 0.0, 10.0
    for _ in range(50):
        a = (low + high) / 2
        kept = [max(1, round(c * math.exp(-a * place))) for place, c in enumerate(widths)]
        low, high = (a, high) if sum(kept) > (1 - sparsity) * sum(widths) else (low, a)
    return kept


def rounded(widths: list[int], sparsity: float) -> list[int]:
    """The same fraction of each layer, to the nearest multiple of 16: what AVX-512 likes."""
    return [max(16, 16 * round(c * (1 - sparsity) / 16)) for c in widths]


MASKS: dict[str, Callable[[list[int], float], list[int]]] = {
    "uniform": uniform,
    "uniform, in multiples of 16": rounded,
    "deep": deep,
}


def at_random(model: nn.Module, structure: Structure, kept: list[int]) -> dict[str, Tensor]:
    """A mask that leaves `kept[l]` randomly chosen channels of the l-th convolution."""
    keep = {}
    for (name, size), count in zip(convolutions(model, structure), kept, strict=True):
        keep[name] = torch.zeros(size, dtype=torch.bool)
        keep[name][torch.randperm(size)[:count]] = True
    return keep


def compacted(
    model: nn.Module, structure: Structure, keep: dict[str, Tensor], x: Tensor
) -> nn.Module:
    """The network without the channels that the mask closes."""
    gates = Gates(model, structure)
    gates.set(keep)
    small = compact(model, structure, keep, example_input=x, verify=False).model
    gates.remove()
    return small


def convolutions(model: nn.Module, structure: Structure) -> list[tuple[str, int]]:
    """Names and sizes of the groups that convolutions compute, first layer first."""
    return [
        (group.name, group.size)
        for group in structure.groups
        if isinstance(model.get_submodule(group.layers[0]), nn.Conv2d)
    ]


def sca(model: nn.Module, images: Images, sparsity: float, *, steps: int) -> dict[str, Tensor]:
    """SCA's own mask, from a short training of a copy of the network: {group: channels kept}."""
    model = copy.deepcopy(model).train()
    batches = Batches(images, batch_size=32, seed=SEED)
    x, _ = next(iter(batches))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    pruner = mg.SCA(
        model, sparsity=sparsity, example_input=x[:1], optimizer=optimizer, every=10, until=steps
    )
    while pruner.steps < steps:
        for x, y in batches:
            mg.reset(model)
            loss = cross_entropy(model(x), y) + pruner.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pruner.step()
            if pruner.steps == steps:
                break
    return pruner.masks.keep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sparsity", type=float, default=0.7)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--data", default="cifar10", help="images of 32x32 pixels")
    parser.add_argument("--steps", type=int, default=60, help="of SCA; 0 leaves its mask out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    where = about()
    where["machine"]["keeps_freed_memory"] = keep_freed_memory()
    for key, value in where["machine"].items():
        print(f"{key.replace('_', ' '):>18}: {value}")
    print(f"{'seed':>18}: {args.seed}\n{'batch':>18}: {args.batch}, T=4, float32")

    try:
        images = load_images(args.data, split="train", rows=range(1000))
    except mg.MicrogliaError as error:
        raise SystemExit(str(error)) from error
    classes, (planes, side) = len(images.classes), images.images.shape[1:3]
    model = build("vgg16", classes=classes, channels=planes, T=4, size=side).eval()
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(norm.bias, 0.2, 0.9)  # untrained it would be silent
    x, _ = next(iter(Batches(images, batch_size=args.batch, shuffle=False)))
    structure = mg.analyse(model, x[:1])
    widths = [size for _, size in convolutions(model, structure)]
    masks = {
        name: at_random(model, structure, rule(widths, args.sparsity))
        for name, rule in MASKS.items()
    }
    if args.steps:
        masks["SCA's own"] = sca(model, images, args.sparsity, steps=args.steps)

    results = {}
    for name, keep in masks.items():
        kept = [int(keep[group].sum()) for group, _ in convolutions(model, structure)]
        result = compare(model, compacted(model, structure, keep, x[:1]), x, repeats=args.repeats)
        results[name] = {"kept": kept, **asdict(result)}
        results[name] |= {"macs_ratio": result.macs_ratio, "efficiency": result.efficiency}
        report(name, kept, widths, result)
    settings = {k: v for k, v in vars(args).items() if k != "json"}
    write(args.json, "latency_vgg16", where, **settings, results=results)


def report(name: str, kept: list[int], widths: list[int], result: Comparison) -> None:
    """Print one comparison: medians, with quartiles in brackets."""

    def spread(quartiles: tuple[float, float], digits: int) -> str:
        return f"[{quartiles[0]:.{digits}f}, {quartiles[1]:.{digits}f}]"

    print(
        f"\n{name}: {sum(kept)} of {sum(widths)} channels kept ({', '.join(map(str, kept))})\n"
        f"  dense    {result.dense_ms:8.1f} ms {spread(result.dense_quartiles_ms, 1)}"
        f"  {result.dense_macs / 1e6:8.1f} M MACs an image\n"
        f"  compact  {result.compact_ms:8.1f} ms {spread(result.compact_quartiles_ms, 1)}"
        f"  {result.compact_macs / 1e6:8.1f} M MACs an image\n"
        f"  {result.speedup:.2f} times as fast {spread(result.speedup_quartiles, 2)}"
        f" with {result.macs_ratio:.2f} times fewer MACs:"
        f" {result.efficiency:.2f} of the ratio (wanted: {TARGET})"
    )


if __name__ == "__main__":
    main()
