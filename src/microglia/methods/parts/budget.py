"""How many channels may stay, from a sparsity or from a target on what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.frameworks import reset
from microglia.structure import Keep, Structure, as_arguments
from microglia.structure.cost import macs, parameters, synops
from microglia.surgery import cut

Quantity = Literal["parameters", "macs", "synops", "latency"]
QUANTITIES = ("parameters", "macs", "synops", "latency")


@dataclass(frozen=True)
class Budget:
    """A sparsity, or a kept fraction of one quantity."""

    sparsity: float | Mapping[str, float] | None = None
    """Fraction of the channels taken away, in [0, 1); or one for each named group."""
    target: Mapping[str, float] | None = None
    """One quantity and the fraction of it that may stay, in (0, 1]."""

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.target is None):
            raise ConfigError("give either sparsity= or target=, and not both")
        wanted = self.sparsity if self.sparsity is not None else 0.0
        for value in wanted.values() if isinstance(wanted, Mapping) else [wanted]:
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"sparsity is the fraction taken away, in [0, 1); got {value!r}")
        if self.target is not None:
            if len(self.target) != 1:
                raise ConfigError(f"target names one quantity, got {dict(self.target)}")
            ((quantity, fraction),) = self.target.items()
            if quantity not in QUANTITIES:
                raise ConfigError(
                    f"target can't be '{quantity}'.{nearest(quantity, list(QUANTITIES))}"
                )
            if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
                raise ConfigError(
                    f"target['{quantity}'] is the fraction kept, in (0, 1]; got {fraction!r}"
                )


def channels_left(structure: Structure, sparsity: float) -> int:
    """The number of channels that a sparsity leaves, to the nearest one."""
    total = sum(g.size for g in structure.groups)
    return total - round(sparsity * total)


def meet(
    propose: Callable[[int], Keep],
    cost: Callable[[Keep], float],
    *,
    whole: float,
    fraction: float,
    least: int,
    most: int,
    nearest: bool,
    what: str,
) -> tuple[int, Keep]:
    """The largest number of channels whose mask costs at most `fraction` of the whole.

    With `nearest` it may cost more, if that comes nearer: a control is to match, not to fit.
    Bisection over the count, from `least` to `most`; cost need only grow with it.

    Raises:
        ConfigError: even the fewest channels that the floors allow cost more.
    """
    low, high = least, most
    check_reachable(cost(propose(low)), whole=whole, fraction=fraction, least=least, what=what)
    while low < high:
        middle = (low + high + 1) // 2
        if cost(propose(middle)) <= fraction * whole:
            low = middle
        else:
            high = middle - 1
    if nearest and low < most:
        below, above = (abs(cost(propose(n)) - fraction * whole) for n in (low, low + 1))
        low += int(above < below)
    return low, propose(low)


def check_reachable(fewest: float, *, whole: float, fraction: float, least: int, what: str) -> None:
    """Refuse a target below what the fewest channels cost.

    Raises:
        ConfigError: it can't be reached.
    """
    if fewest > fraction * whole:
        raise ConfigError(
            f"target {what} = {fraction}: even with {least} channels left, the fewest that the "
            f"floors and protected layers allow, {fewest / whole:.3f} would remain; "
            "raise the target, lower the floor, or open more layers"
        )


def cost_function(
    quantity: str,
    model: nn.Module,
    structure: Structure,
    *,
    example_input: Any,
    density: Mapping[str, Tensor],
) -> Callable[[Keep], float]:
    """What a mask costs, in the unit of the quantity."""
    if quantity == "parameters":
        return lambda keep: float(parameters(structure, keep))
    if quantity == "macs":
        return lambda keep: float(macs(structure, keep))
    if quantity == "synops":
        return lambda keep: synops(structure, keep, density)
    dense = cut(model, structure, {})[0]
    return lambda keep: _latency_ratio(cut(model, structure, keep)[0], dense, example_input)


def _latency_ratio(
    small: nn.Module, dense: nn.Module, example_input: Any, *, repeats: int = 9
) -> float:
    """Median over interleaved pairs of the time of a forward pass, small over dense.

    Under torch.distributed the mean over the ranks, so that every rank chooses the same mask.
    """
    device = next((p.device for p in dense.parameters()), torch.device("cpu"))
    arguments = tuple(
        x.to(device) if isinstance(x, Tensor) else x for x in as_arguments(example_input)
    )
    ratios = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for _ in range(repeats + 2):
            times = []
            for model in (small.eval(), dense.eval()):
                reset(model)
                start = time.perf_counter()
                model(*arguments)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
            ratios.append(times[0] / times[1])
    ratio = torch.tensor(median(ratios[2:]), device=device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(ratio)
        ratio /= dist.get_world_size()
    return float(ratio)
