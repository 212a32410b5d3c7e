"""Energy of the synaptic operations, by a table that is named wherever its result is shown."""

from __future__ import annotations

from dataclasses import dataclass

from microglia.errors import ConfigError


@dataclass(frozen=True)
class EnergyTable:
    """Picojoules that one operation costs on one kind of hardware."""

    name: str
    accumulate_pj: float
    multiply_accumulate_pj: float

    def __post_init__(self) -> None:
        for field in ("accumulate_pj", "multiply_accumulate_pj"):
            if not getattr(self, field) >= 0:
                raise ConfigError(
                    f"energy table '{self.name}': {field} must be 0 or more picojoules, "
                    f"got {getattr(self, field)}"
                )

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.accumulate_pj} pJ an accumulate, "
            f"{self.multiply_accumulate_pj} pJ a multiply-accumulate"
        )

    def nanojoules(self, accumulates: float, multiply_accumulates: float) -> float:
        """E = (E_AC · accumulates + E_MAC · multiply-accumulates), in nJ.

        Synaptic operations alone: memory access, neurons and norms aren't in it, and on real
        hardware memory access is the larger part. Figures of different tables don't compare.
        """
        picojoules = (
            self.accumulate_pj * accumulates + self.multiply_accumulate_pj * multiply_accumulates
        )
        return picojoules / 1000


HOROWITZ_45NM = EnergyTable("Horowitz 45 nm, float32", 0.9, 4.6)
"""M. Horowitz, "Computing's energy problem", ISSCC 2014: 0.9 pJ a float32 addition, 4.6 pJ a
multiplication and addition, 45 nm, 0.9 V. The field's custom."""
