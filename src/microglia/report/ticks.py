"""Where the ticks of a logarithmic axis stand, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ticks:
    """Places and words of the ticks, and the powers of ten that the axis begins and ends at."""

    places: tuple[float, ...]
    words: tuple[str, ...]
    decades: tuple[float, float]


def log_ticks(values: Sequence[float]) -> Ticks | None:
    """1, 2 and 5 times the powers of ten that the positive values span; None without any."""
    positive = [value for value in values if value > 0]
    if not positive:
        return None
    low, high = min(positive) / 1.3, max(positive) * 1.3
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    # Powers of ten and their fractions as one rounding, so that 0.05 is written 0.05.
    steps = _steps(math.log10(high / low))
    ticks = [float(f"{m}e{d}") for d in range(first, last + 1) for m in steps]
    shown = tuple(tick for tick in ticks if low <= tick <= high)
    return Ticks(shown, tuple(_short(t) for t in shown), (math.log10(low), math.log10(high)))


def _steps(decades: float) -> tuple[int, ...]:
    """Fewer where more decades have to fit."""
    if decades > 4:
        return (1,)
    return (1, 2, 5) if decades > 1 else (1, 2, 3, 4, 5, 7)


def _short(number: float) -> str:
    """In words such as 20k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
