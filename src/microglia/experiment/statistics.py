"""Means over seeds, and differences between networks of the same seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    count: int

    def chance(self, *, above: bool) -> float | None:
        """p of a mean this far above 0 (or below) where the true one is 0: Student's t, one-sided;
        None of one value."""
        if self.count < 2:
            return None
        half = (self.high - self.low) / 2
        if half == 0:
            return 0.0 if (self.mean > 0) == above and self.mean else 1.0
        t = self.mean / half * float(stats.t.ppf(0.975, self.count - 1))
        return float(stats.t.sf(t if above else -t, self.count - 1))

    def text(self, *, scale: float = 1.0, digits: int = 2) -> str:
        """Such as `+1.52 [-0.33, +3.37]`."""
        low, mean, high = (f"{scale * x:+.{digits}f}" for x in (self.low, self.mean, self.high))
        return f"{mean} [{low}, {high}]" if self.count > 1 else mean


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> Interval | None:
    """Mean of a - b over the seeds that both have, with Student's interval; None without any.

    d ± t(0.975, n - 1) · s / √n
    """
    differences = [a[seed] - b[seed] for seed in sorted(set(a) & set(b))]
    if not differences:
        return None
    mean, n = statistics.fmean(differences), len(differences)
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def mean_and_spread(values: Sequence[float], *, scale: float = 1.0, digits: int = 2) -> str:
    """Such as `56.06 ± 0.65`, with the sample standard deviation."""
    mean = f"{scale * statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
