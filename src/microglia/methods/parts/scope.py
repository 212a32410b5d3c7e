"""Which channels stay, given their scores and how many may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from microglia.errors import ConfigError

Scope = Literal["global", "layer"]
Scores = Mapping[str, Tensor]
"""For each group the score of each channel, `[size]`."""


def partition(
    sizes: Mapping[str, int],
    count: int,
    *,
    scope: Scope | Mapping[str, float],
    floors: Mapping[str, int],
    units: str = "channels",
) -> list[tuple[tuple[str, ...], int]]:
    """Sets of groups that are ranked together, each with the number of channels that stay.

    "global": one set of all groups. "layer": every group for itself, all at the same fraction
    (by largest remainder, so that the total is exact). A mapping: every named group for itself
    at its own sparsity.

    Raises:
        ConfigError: the floors need more channels than may stay.
    """
    if isinstance(scope, Mapping):
        own = {name: n - round(scope.get(name, 0.0) * n) for name, n in sizes.items()}
        return [((name,), max(own[name], floors[name])) for name in sizes]
    if sum(floors.values()) > count:
        raise ConfigError(
            f"{count} of {sum(sizes.values())} {units} are to stay, but the floors of "
            f"{len(sizes)} layers need {sum(floors.values())}: lower the sparsity or the floor"
        )
    if scope == "global":
        return [(tuple(sizes), count)]
    return [((name,), n) for name, n in shares(sizes, count, floors).items()]


def select(scores: Scores, count: int, floors: Mapping[str, int]) -> dict[str, Tensor]:
    """The `count` channels of highest score over all these groups, at least the floor in each.

    Exact; equal scores are broken by position.
    """
    keep = {name: top(s, floors[name]) for name, s in scores.items()}
    left = count - sum(int(m.sum()) for m in keep.values())
    rest = {n: s.masked_fill(keep[n], -torch.inf) for n, s in scores.items()}
    for name, more in best(rest, left).items():
        keep[name] |= more
    return keep


def best(scores: Scores, count: int) -> dict[str, Tensor]:
    """The `count` highest scores over all these groups, with no floor."""
    everything = torch.cat(list(scores.values()))
    chosen = top(everything, max(count, 0))
    masks = chosen.split([int(s.numel()) for s in scores.values()])
    return {name: mask.clone() for name, mask in zip(scores, masks, strict=True)}


def top(scores: Tensor, count: int) -> Tensor:
    """The mask of the `count` highest scores; equal ones by position."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[torch.argsort(scores, descending=True, stable=True)[:count]] = True
    return mask


def shares(sizes: Mapping[str, int], count: int, floors: Mapping[str, int]) -> dict[str, int]:
    """Split `count` in proportion to the sizes, by largest remainder, never below the floors."""
    total = sum(sizes.values())
    exact = {name: count * n / total for name, n in sizes.items()}
    counts = {name: max(floors[name], int(x)) for name, x in exact.items()}
    while (missing := count - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        movable = [n for n in sizes if floors[n] <= counts[n] + step <= sizes[n]]
        name = max(movable, key=lambda n: step * (exact[n] - counts[n]))
        counts[name] += step
    return counts


def rounded(
    counts: Mapping[str, int], sizes: Mapping[str, int], *, multiple: int
) -> dict[str, int]:
    """Multiples nearest to the counts (or the whole group), their total nearest to the counts'."""
    allowed = {name: sorted({*range(multiple, n + 1, multiple), n}) for name, n in sizes.items()}
    chosen = {
        name: min(allowed[name], key=lambda n, c=c: abs(n - c))  # type: ignore[misc]
        for name, c in counts.items()
    }
    wanted = sum(counts.values())
    while True:
        over = sum(chosen.values()) - wanted
        moves = []
        for name, n in chosen.items():
            place = allowed[name].index(n) + (-1 if over > 0 else 1)
            if 0 <= place < len(allowed[name]):
                moved = allowed[name][place]
                moves.append((abs(over + moved - n), abs(moved - counts[name]), name, moved))
        if over == 0 or not moves or min(moves)[0] >= abs(over):
            return chosen
        _, _, name, moved = min(moves)
        chosen[name] = moved


def in_proportion(order: Scores, shares: Mapping[str, float]) -> dict[str, Tensor]:
    """Scores whose best, however many are taken, are shared out between groups in proportion.

        s_i = −(r_i + ½) / share of the group         r_i = 0, 1, ...: the place in its own order

    So each group gives the highest of its own `order`, in numbers proportional to the shares, to
    the nearest one (Webster's rule of apportionment). What a group that runs out can't give goes to
    the others in the same proportion.
    """
    return {name: _by_place(scores, shares[name]) for name, scores in order.items()}


def _by_place(scores: Tensor, share: float) -> Tensor:
    place = torch.empty(scores.numel(), dtype=torch.float64)
    counted = torch.arange(scores.numel(), dtype=torch.float64)
    place[torch.argsort(scores, descending=True, stable=True)] = counted
    return -(place + 0.5) / max(share, 1e-300)
