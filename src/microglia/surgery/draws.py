"""Random numbers apart from those that a network's weights were drawn from."""

from __future__ import annotations

import numpy as np
import torch


def generator_of(seed: int, use: int) -> torch.Generator:
    """The generator of one use, a number that no other use has.

    `manual_seed(seed)` would give the numbers that a network drawn from the same seed has its
    weights from: a random mask would keep the largest of them.
    """
    (mixed,) = np.random.SeedSequence((seed, use)).generate_state(1)
    return torch.Generator().manual_seed(int(mixed))
