"""Labels: which channel of which tensor is tied to which.

Every dimension of every weight gets one integer, an *atom*, for each of its positions. While
the network runs, tensors carry *shadows*: integer arrays with as many dimensions as the tensor,
holding the atom of each position, of size 1 along the dimensions that carry none. Two atoms
that must live or die together are *tied*; the connected components are the channels of the
network as pruning sees it. Atoms that cannot be removed are *pinned*, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

PIN = -1
"""Stands in a shadow where the position can never be removed."""

ANYWHERE = -1
"""Stands for the leaf of atoms that belong to no tensor of the network."""


@dataclass
class Labels:
    """The atoms of one network, and what ties them."""

    owners: list[tuple[int, int]] = field(default_factory=list)
    """(leaf, dimension) of each block of atoms, in the order of their first atom."""
    starts: list[int] = field(default_factory=list)
    size: int = 0
    _left: list[NDArray[np.int64]] = field(default_factory=list)
    _right: list[NDArray[np.int64]] = field(default_factory=list)
    _pins: list[tuple[NDArray[np.int64], str]] = field(default_factory=list)

    def new(self, leaf: int, dim: int, count: int) -> Tensor:
        """Fresh atoms, one for each position along a dimension of a leaf."""
        self.owners.append((leaf, dim))
        self.starts.append(self.size)
        atoms = torch.arange(self.size, self.size + count)
        self.size += count
        return atoms

    def tie(self, a: Tensor, b: Tensor, reason: str) -> None:
        """The atoms at equal places live or die together (broadcast against each other)."""
        if a is b or (a.shape == b.shape and torch.equal(a, b)):
            return
        left, right = torch.broadcast_tensors(a, b)
        # One number for each pair (PIN is -1): NumPy sorts numbers far faster than columns.
        codes = (left.reshape(-1).numpy() + 1) * (self.size + 1) + right.reshape(-1).numpy() + 1
        pairs = np.stack(np.divmod(np.unique(codes), self.size + 1)) - 1
        stuck = (pairs == PIN).any(axis=0)
        if stuck.any():
            self.pin(torch.from_numpy(pairs[:, stuck].reshape(-1)), reason)
        free = pairs[:, ~stuck]
        self._left.append(free[0])
        self._right.append(free[1])

    def pin(self, atoms: Tensor, reason: str) -> None:
        """None of these can be removed, and why."""
        ids = np.unique(atoms.reshape(-1).numpy())
        ids = ids[ids != PIN]
        if ids.size:
            self._pins.append((ids, reason))

    def classes(self) -> tuple[NDArray[np.int32], dict[int, str]]:
        """The class of every atom, and the reason for each class that is pinned."""
        left = np.concatenate([np.empty(0, np.int64), *self._left])
        right = np.concatenate([np.empty(0, np.int64), *self._right])
        graph = coo_array((np.ones(left.size, np.int8), (left, right)), (self.size, self.size))
        _, component = connected_components(graph, directed=False)
        pinned: dict[int, str] = {}
        for atoms, reason in self._pins:
            for c in np.unique(component[atoms]):
                pinned.setdefault(int(c), reason)
        return component, pinned


def varying(shadow: Tensor) -> tuple[int, ...]:
    """The dimensions along which a shadow carries labels."""
    return tuple(d for d, n in enumerate(shadow.shape) if n > 1)


def compress(shadow: Tensor) -> Tensor:
    """The same shadow with size 1 along every dimension where it is constant."""
    for d, n in enumerate(shadow.shape):
        if n > 1 and _constant(shadow, d):
            shadow = shadow.narrow(d, 0, 1)
    return shadow


def _constant(shadow: Tensor, dim: int) -> bool:
    if shadow.stride(dim) == 0:
        return True
    first = shadow.narrow(dim, 0, 1)
    alike = torch.equal(first, shadow.narrow(dim, 1, 1))  # quickly settles most
    return alike and bool((shadow == first).all())


def full(shadow: Tensor, shape: torch.Size) -> Tensor:
    """The shadow written out for every element of its tensor."""
    return shadow.expand(shape)
