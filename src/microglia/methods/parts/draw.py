"""Random choices that cost what is chosen, not what there is to choose from."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn(count: int, total: int, generator: torch.Generator) -> Tensor:
    """`count` different numbers below `total`, evenly; few are found without shuffling all."""
    if 4 * count > total:
        return torch.randperm(total, generator=generator)[:count]
    found = torch.empty(0, dtype=torch.long)
    while found.numel() < count:
        more = torch.randint(total, (count + 16,), generator=generator)
        found = torch.cat([found, more]).unique()
    return found[torch.randperm(found.numel(), generator=generator)[:count]]
