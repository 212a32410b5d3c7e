"""What one update of a pruner did."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from microglia.structure import Keep


@dataclass(frozen=True)
class Change:
    """What one update did."""

    step: int
    """Optimizer steps taken so far."""
    pruned: Mapping[str, Sequence[int]]
    """Group -> units that were open and are closed now."""
    regrown: Mapping[str, Sequence[int]]
    """Group -> units that were closed and are open now."""
    kept: Mapping[str, int]
    """Group -> how many units are open now."""
    sparsity: float
    """Fraction of all prunable units that are closed now."""
    units: str = "channels"
    """What is pruned: channels or weights."""
    restart: bool = False
    """The method asks the loop to start its learning-rate schedule again."""

    @staticmethod
    def between(before: Keep, after: Keep, *, step: int, units: str = "channels") -> Change:
        """What changed from one mask to the next."""
        return Change(
            step=step,
            pruned=_ids({n: before[n] & ~after[n] for n in after}),
            regrown=_ids({n: ~before[n] & after[n] for n in after}),
            kept={n: int(mask.sum()) for n, mask in after.items()},
            sparsity=sparsity_of(after),
            units=units,
        )

    def __str__(self) -> str:
        off = sum(map(len, self.pruned.values()))
        on = sum(map(len, self.regrown.values()))
        return (
            f"step {self.step}: {off} {self.units} pruned, {on} regrown, "
            f"{sum(self.kept.values())} open (sparsity {self.sparsity:.3f})"
        )


def sparsity_of(keep: Keep) -> float:
    """Fraction of all units that a mask closes."""
    closed = sum(int((~mask).sum()) for mask in keep.values())
    return closed / sum(mask.numel() for mask in keep.values())


def _ids(masks: Mapping[str, Tensor]) -> dict[str, Sequence[int]]:
    # An array takes 8 bytes for each of a million weights, a list of numbers 36.
    return {n: array("q", m.nonzero().numpy().tobytes()) for n, m in masks.items() if bool(m.any())}
