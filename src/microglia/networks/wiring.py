"""Who fires into whom: random directed graphs, drawn without a matrix of all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from microglia.errors import ConfigError, is_number, is_whole

Array = NDArray[Any]
Edges = tuple[Array, Array]  # postsynaptic and presynaptic neurons [E] each


@dataclass(frozen=True)
class SmallWorld:
    """A directed Watts-Strogatz graph: each neuron hears its ``neighbours`` nearest on a ring, and
    each of these synapses comes from elsewhere with probability ``rewiring``.

    Every neuron keeps exactly ``neighbours`` synapses, no two from the same neuron and none from
    itself.

    Source: Watts & Strogatz, Nature 1998, with directed edges.
    """

    neighbours: int = 100
    rewiring: float = 0.3

    def __post_init__(self) -> None:
        if not is_whole(self.neighbours) or self.neighbours < 1:
            raise ConfigError(
                f"neighbours: a whole number of at least 1 expected, got {self.neighbours!r}"
            )
        if not is_number(self.rewiring) or not 0 <= self.rewiring <= 1:
            raise ConfigError(f"rewiring: a probability expected, got {self.rewiring!r}")

    def draw(self, inhibitory: Array, rng: np.random.Generator) -> Edges:
        """Synapses of ``len(inhibitory)`` neurons."""
        N, K = len(inhibitory), self.neighbours
        if K >= N:
            raise ConfigError(f"neighbours: wanted less than the {N} neurons, got {K}")
        offsets = np.r_[-(K // 2) : 0, 1 : K - K // 2 + 1]
        post = np.repeat(np.arange(N), K)
        pre = (post + np.tile(offsets, N)) % N
        moved = rng.random(N * K) < self.rewiring
        wrong = np.flatnonzero(moved)
        while len(wrong):
            pre[wrong] = rng.integers(N, size=len(wrong))
            # A stable sort with the unmoved first: of two equal synapses the moved one goes again.
            order = np.lexsort((moved, pre, post))
            key = post[order] * N + pre[order]
            again = order[1:][key[1:] == key[:-1]]
            wrong = np.union1d(again, np.flatnonzero(pre == post))
        return post, pre


@dataclass(frozen=True)
class Distance:
    """Neurons on a grid of a box, joined the likelier the nearer they stand:

        P(j → i) = C exp(−(D_ij / λ)²)

    with λ = ``reach`` in grid steps, and C by the types of j and i: ``ei`` from an excitatory to an
    inhibitory neuron. Pairs further than 5 λ apart, with P below 1.4e-11 C, are left out.
    ``sides`` is the box; None is one nearly as high as wide.

    Source: Maass, Natschläger & Markram, Neural Computation 2002.
    """

    reach: float = 2.0
    ee: float = 0.3
    ei: float = 0.2
    ie: float = 0.4
    ii: float = 0.1
    sides: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not is_number(self.reach) or not 0 < self.reach < np.inf:
            raise ConfigError(f"reach: a length above 0 expected, got {self.reach!r}")
        for name in ("ee", "ei", "ie", "ii"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value <= 1:
                raise ConfigError(f"{name}: a probability expected, got {value!r}")

    def positions(self, N: int) -> Array:
        """Where the neurons stand [N, 3]."""
        sides = self.sides
        if sides is None:
            side = int(np.ceil(round(N ** (1 / 3), 9)))
            sides = (side, side, side)
        if np.prod(sides) < N:
            raise ConfigError(f"sides: a box of {sides} has no room for {N} neurons")
        return np.stack(np.unravel_index(np.arange(N), sides), axis=1)

    def draw(self, inhibitory: Array, rng: np.random.Generator) -> Edges:
        """Synapses of ``len(inhibitory)`` neurons."""
        tree = KDTree(self.positions(len(inhibitory)))
        pairs = tree.sparse_distance_matrix(tree, 5 * self.reach, output_type="ndarray")
        post, pre, D = pairs["i"], pairs["j"], pairs["v"]
        # The tree's order is its own affair; the draw isn't.
        order = np.lexsort((pre, post))
        post, pre, D = post[order], pre[order], D[order]
        kind = inhibitory.astype(int)
        C = np.array([[self.ee, self.ei], [self.ie, self.ii]])[kind[pre], kind[post]]
        joined = (rng.random(len(D)) < C * np.exp(-((D / self.reach) ** 2))) & (pre != post)
        return post[joined], pre[joined]


def long_range(cluster: Array, count: int, rng: np.random.Generator) -> Edges:
    """``count`` synapses between random neurons of different clusters, no two alike.

    ``cluster`` [N] says which cluster each neuron belongs to.

    Raises:
        ConfigError: more synapses than there are such pairs.
    """
    N = len(cluster)
    room = N * N - int((np.bincount(cluster) ** 2).sum())
    if count > room:
        raise ConfigError(f"long_range: {count} synapses wanted between clusters with {room} pairs")
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        pair = rng.integers(N * N, size=2 * (count - len(found)) + 16)
        pair = pair[cluster[pair // N] != cluster[pair % N]]
        pair = np.concatenate([found, pair])
        found = pair[np.sort(np.unique(pair, return_index=True)[1])][:count]
    return found // N, found % N
