"""Ranges within which synapses may move, and which grow and shrink with them (SD-SNN)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from microglia.methods.parts.part import Part

SHRINK = 0.75


class SynapticRanges(Part):
    """R⁻ and R⁺ of every weight, as dendritic spines of limited volume would set them.

        w ≥ R⁺ at κ looks in a row:           R⁺ += Σ (w − R⁺) / κ over these looks; so with R⁻
        |w| less than before κ times in a row:  R⁺, R⁻ ×= 0.75

    A row that was answered begins anew. At first R± = ±max |w| of the weight's tensor.
    """

    COUNTED = ("above", "below", "fading")
    SUMMED = ("over", "under")

    def __init__(self, weights: dict[str, Tensor], *, kappa: int) -> None:
        self.kappa = kappa
        self.ranges: dict[str, dict[str, Tensor]] = {}
        for name, w in weights.items():
            bound = w.abs().max() * torch.ones_like(w)
            self.ranges[name] = {
                "upper": bound,
                "lower": -bound,
                "last": w.abs(),
                **{key: torch.zeros_like(w) for key in self.SUMMED},
                **{key: torch.zeros_like(w, dtype=torch.int16) for key in self.COUNTED},
            }

    def look(self, name: str, weight: Tensor) -> None:
        """Move the ranges by how the weights have moved since the last look."""
        r = self.ranges[name] = {k: v.to(weight.device) for k, v in self.ranges[name].items()}
        for bound, count, excess, beyond in (
            ("upper", "above", "over", weight >= r["upper"]),
            ("lower", "below", "under", weight <= r["lower"]),
        ):
            r[count] = (r[count] + 1) * beyond
            r[excess] = (r[excess] + weight - r[bound]) * beyond
            grown = r[count] >= self.kappa
            r[bound] = r[bound] + r[excess] / self.kappa * grown
            r[count], r[excess] = r[count] * ~grown, r[excess] * ~grown
        r["fading"] = (r["fading"] + 1) * (weight.abs() < r["last"])
        shrunk = r["fading"] >= self.kappa
        for bound in ("upper", "lower"):
            r[bound] = torch.where(shrunk, SHRINK * r[bound], r[bound])
        r["fading"] = r["fading"] * ~shrunk
        r["last"] = weight.abs()

    def constrain(self, name: str, weight: Tensor) -> None:
        """Clamp the weights to their ranges, in place."""
        r = self.ranges[name]
        weight.clamp_(r["lower"], r["upper"])
        r["last"] = weight.abs()

    def width(self, name: str) -> Tensor:
        """R⁺ + |R⁻|, from 0 for the narrowest of the tensor to 1 for the widest."""
        wide = self.ranges[name]["upper"] + self.ranges[name]["lower"].abs()
        low, high = wide.min(), wide.max()
        return (wide - low) / (high - low) if high > low else torch.ones_like(wide)

    def state_dict(self) -> dict[str, Any]:
        """All that is known of every weight."""
        return {name: {k: v.clone() for k, v in r.items()} for name, r in self.ranges.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.ranges = {name: {k: v.clone() for k, v in r.items()} for name, r in state.items()}
