"""Random numbers for each purpose, from one seed."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal["state", "directions", "probes", "input", "gains"]

LYAPUNOV = 0x6C79  # sets these streams apart from all others


def stream(seed: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one purpose.

    `default_rng(seed)` would give the numbers that a network of the same seed was drawn from: its
    first state would follow its weights.
    """
    return np.random.default_rng([seed, LYAPUNOV, get_args(Purpose).index(purpose)])
