"""How many channels may stay, from a sparsity or from a target on what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from microglia.errors import ConfigError, nearest
from microglia.structure import Keep, Structure
from microglia.structure.cost import macs, parameters, synops

Quantity = Literal["parameters", "macs", "synops", "latency"]
QUANTITIES = ("parameters", "macs", "synops", "latency")


@dataclass(frozen=True)
class Budget:
    """A sparsity, or a kept fraction of one quantity."""

    sparsity: float | Mapping[str, float] | None = None
    """Fraction of the units taken away, in [0, 1); or one for each named group."""
    target: Mapping[str, float] | None = None
    """One quantity and the fraction of it that may stay, in (0, 1]."""
    required: bool = True
    """Whether one of the two must be given."""

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return self.sparsity is not None or self.target is not None

    def __post_init__(self) -> None:
        both = self.sparsity is not None and self.target is not None
        neither = self.sparsity is None and self.target is None
        if both or (neither and self.required):
            raise ConfigError("give either sparsity= or target=, and not both")
        wanted = self.sparsity if self.sparsity is not None else 0.0
        for value in wanted.values() if isinstance(wanted, Mapping) else [wanted]:
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ConfigError(f"sparsity is the fraction taken away, in [0, 1); got {value!r}")
        if self.target is not None:
            if not isinstance(self.target, Mapping):
                raise ConfigError(
                    f"target names a quantity, such as {{'macs': 0.4}}; got {self.target!r}"
                )
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


def units_left(sizes: Mapping[str, int], sparsity: float) -> int:
    """The number of units that a sparsity leaves, to the nearest one."""
    total = sum(sizes.values())
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
    units: str,
) -> tuple[int, Keep]:
    """The largest number of units whose mask costs at most `fraction` of the whole.

    With `nearest` it may cost more, if that comes nearer: a control is to match, not to fit.
    Bisection over the count, from `least` to `most`; cost need only grow with it.

    Raises:
        ConfigError: even the fewest units that the floors allow cost more.
    """
    low, high = least, most
    check_reachable(
        cost(propose(low)), whole=whole, fraction=fraction, least=least, what=what, units=units
    )
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


def check_reachable(
    fewest: float, *, whole: float, fraction: float, least: int, what: str, units: str
) -> None:
    """Refuse a target below what the fewest units cost.

    Raises:
        ConfigError: it can't be reached.
    """
    if fewest > fraction * whole:
        raise ConfigError(
            f"target {what} = {fraction}: even with {least} {units} left, the fewest that the "
            f"floors and protected layers allow, {fewest / whole:.3f} would remain; "
            "raise the target, lower the floor, or open more layers"
        )


def cost_function(
    quantity: str, structure: Structure, *, density: Mapping[str, Tensor]
) -> Callable[[Keep], float]:
    """What a mask costs in parameters, MACs or SynOps."""
    if quantity == "parameters":
        return lambda keep: float(parameters(structure, keep))
    if quantity == "macs":
        return lambda keep: float(macs(structure, keep))
    return lambda keep: synops(structure, keep, density)
