"""From a trace to groups: connected atoms become channels, channels cut alike become groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from microglia.structure.groups import Cut, Group, Site, Structure, Use, output_axis
from microglia.structure.labels import ANYWHERE, PIN
from microglia.structure.records import Reading
from microglia.structure.rules import IN_PLACE_SAFE
from microglia.structure.trace import NORMS, Trace

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class _Channels:
    """Which group, and which channel of it, every atom belongs to (-1: none)."""

    group: Tensor
    channel: Tensor
    _touched: dict[int, frozenset[int]] = field(default_factory=dict)

    def touches(self, atoms: Tensor, index: int) -> bool:
        """Whether any of these atoms belongs to group `index`."""
        known = self._touched.get(id(atoms))  # the trace keeps them all, so ids are unique
        if known is None:
            known = frozenset(self.both(atoms)[0].unique().tolist())
            self._touched[id(atoms)] = known
        return index in known

    def of(self, atoms: Tensor, index: int) -> Tensor:
        """The channel of group `index` at each of these atoms, -1 elsewhere."""
        group, channel = self.both(atoms)
        return torch.where(group == index, channel, -1)

    def both(self, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """(group, channel) at each of these atoms."""
        safe = atoms.clamp(min=0)
        fixed = atoms == PIN
        return self.group[safe].masked_fill(fixed, -1), self.channel[safe].masked_fill(fixed, -1)


def build(trace: Trace, *, name: str) -> Structure:
    """The structure that a trace shows."""
    component, pinned = trace.labels.classes()
    rank = _ranks(trace, component)
    free = {c for c in rank if c not in pinned}
    members = _cut_alike(trace, component, free)
    ordered = sorted(members, key=lambda m: min(rank[c] for c in m))
    classes = int(component.max(initial=-1)) + 1
    group_of, channel_of = np.full(classes, -1), np.full(classes, -1)
    for index, alike in enumerate(ordered):
        for channel, c in enumerate(sorted(alike, key=rank.__getitem__)):
            group_of[c], channel_of[c] = index, channel
    channels = _Channels(
        torch.from_numpy(group_of[component]), torch.from_numpy(channel_of[component])
    )
    cuts = _cuts(trace, channels, len(members))

    groups: list[Group] = []
    for index in range(len(members)):
        groups.append(_group(trace, channels, index, cuts[index], taken={g.name for g in groups}))
    structure = Structure(
        network=name,
        groups=tuple(groups),
        fixed={**_fixed(trace, component, pinned), **_unused(trace, component, {*rank, *pinned})},
        refused=dict(trace.refused),
        leaves=tuple(names for names, _ in trace.leaves),
        shapes=tuple(leaf.shape for _, leaf in trace.leaves),
        parameters=frozenset(
            i for i, (_, leaf) in enumerate(trace.leaves) if isinstance(leaf, nn.Parameter)
        ),
        uses=tuple(_uses(trace, channels)),
        neurons=_currents(trace),
    )
    return structure.frozen(
        {g.name: why for g in groups if (why := _ungated(trace, channels, groups.index(g), g))}
    )


def _currents(trace: Trace) -> dict[str, torch.Size | None]:
    shapes: dict[str, set[torch.Size]] = {}
    for reading in trace.neurons:
        shapes.setdefault(reading.module, set()).add(reading.shape)
    return {name: met.pop() if len(met) == 1 else None for name, met in shapes.items()}


def _ranks(trace: Trace, component: NDArray[np.int32]) -> dict[int, int]:
    """The classes that some layer computes, in the order in which the network computes them."""
    rank: dict[int, int] = {}
    for use in trace.synapses:
        for atom in use.out_atoms[use.out_atoms != PIN].tolist():
            rank.setdefault(int(component[atom]), len(rank))
    return rank


def _cut_alike(trace: Trace, component: NDArray[np.int32], free: set[int]) -> list[list[int]]:
    """The free classes, together where they have equally many atoms in the same dimensions."""
    sizes = np.diff([*trace.labels.starts, trace.labels.size])
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    # One number for each pair: NumPy sorts numbers far faster than columns.
    pairs, counts = np.unique(component.astype(np.int64) * len(sizes) + blocks, return_counts=True)
    classes, block = np.divmod(pairs, len(sizes))
    real = np.array([leaf != ANYWHERE for leaf, _ in trace.labels.owners])[block]
    classes, touches = classes[real], np.stack([block, counts], axis=1)[real]
    alike: dict[bytes, list[int]] = defaultdict(list)
    names, starts = np.unique(classes, return_index=True)
    for c, where in zip(names.tolist(), np.split(touches, starts[1:]), strict=True):
        if c in free:
            alike[where.tobytes()].append(c)
    return list(alike.values())


def _group(
    trace: Trace, channels: _Channels, index: int, cuts: list[Cut], *, taken: set[str]
) -> Group:
    def mine(atoms: Tensor) -> bool:
        return channels.touches(atoms, index)

    computing = [u for u in trace.synapses if mine(u.out_atoms)]
    layers = tuple(dict.fromkeys(u.layer for u in computing))
    reading = [u for u in trace.synapses if mine(u.in_atoms)]
    readers = tuple(dict.fromkeys(u.layer for u in reading))
    both = set(layers) & set(readers)
    recurrent = any(u.layer in both and u.kind == "linear" for u in computing)
    conv = any(u.kind == "conv" for u in computing)
    outputs = {r.module: r for r in trace.outputs if mine(r.atoms)}
    norms = {
        name: channels.of(r.atoms, index)
        for name, r in outputs.items()
        if isinstance(trace.model.get_submodule(name), NORMS)
    }
    neurons = {r.module: r for r in trace.neurons if mine(r.atoms)}
    name, n = layers[0], 2
    while name in taken:
        name, n = f"{layers[0]}#{n}", n + 1
    owner = next(u.out_atoms for u in computing)
    return Group(
        name=name,
        size=1 + max(int(cut.channel.max()) for cut in cuts),
        kind="recurrent" if recurrent else "conv" if conv else "linear",
        layers=layers,
        readers=readers,
        cuts=tuple(cuts),
        gates=tuple(_gates(trace, channels, index)),
        neurons=tuple(
            Site(r.module, "input", r.dim, channels.of(r.atoms, index)) for r in neurons.values()
        ),
        norms=norms,
        owner=channels.of(owner, index),
        stream=len(set(layers) - both) > 1,
    )


def _cuts(trace: Trace, channels: _Channels, count: int) -> list[list[Cut]]:
    """For each group the dimensions of tensors along which it lies."""
    cuts: list[list[Cut]] = [[] for _ in range(count)]
    for leaf, dim, start, stop in _blocks(trace):
        group, channel = channels.group[start:stop], channels.channel[start:stop]
        for index in group.unique().tolist():
            if index >= 0:
                mine = torch.where(group == index, channel, -1)
                cuts[index].append(Cut(leaf, dim, mine))
    return cuts


def _blocks(trace: Trace) -> Iterator[tuple[int, int, int, int]]:
    """(leaf, dimension, first atom, last atom + 1) of every tensor that the network keeps."""
    bounds = [*trace.labels.starts, trace.labels.size]
    for (leaf, dim), start, stop in zip(trace.labels.owners, bounds, bounds[1:], strict=False):
        if leaf != ANYWHERE:
            yield leaf, dim, start, stop


def _gates(trace: Trace, channels: _Channels, index: int) -> list[Site]:
    """Where to silence a group: as late as possible, but before every reader.

    At the current of each neuron; and where a reader gets the channels without a neuron in
    between (a shortcut that reads the raw stream, a recurrent current inside a neuron), at the
    layers and norms that this current comes from.
    """
    outputs = {r.module: r for r in trace.outputs if channels.touches(r.atoms, index)}
    leaks = {
        source
        for use in trace.synapses
        if channels.touches(use.in_atoms, index)
        for source in use.sources
        if source in outputs
    }
    leaks |= trace.inside_neurons & set(outputs)
    gates = {name: _output_site(trace, channels, index, outputs[name]) for name in sorted(leaks)}
    for current in trace.neurons:
        sources = current.sources & set(outputs)
        if not sources or sources <= set(gates):
            continue
        if not channels.touches(current.atoms, index):
            continue
        channel = channels.of(current.atoms, index)
        memory = trace.storage(current.storage)
        alone = "" not in memory.readers and memory.writer in IN_PLACE_SAFE
        if alone and memory.owner in outputs:
            gates[memory.owner] = _output_site(trace, channels, index, outputs[memory.owner])
        else:
            norms = tuple(sorted(s for s in sources if _is_norm(trace, s)))
            gates[current.module] = Site(
                current.module, "input", current.dim, channel, in_place=alone, norms=norms
            )
    return list(gates.values())


def _output_site(trace: Trace, channels: _Channels, index: int, reading: Reading) -> Site:
    memory = trace.storage(reading.storage)
    return Site(
        reading.module,
        "output",
        reading.dim,
        channels.of(reading.atoms, index),
        in_place=memory.owner == reading.module and memory.writer in IN_PLACE_SAFE,
        norms=(reading.module,) if _is_norm(trace, reading.module) else (),
    )


def _is_norm(trace: Trace, name: str) -> bool:
    return isinstance(trace.model.get_submodule(name), NORMS)


def _ungated(trace: Trace, channels: _Channels, index: int, group: Group) -> str:
    """Why a group can't be silenced before it is cut, '' where it can."""
    sites = {site.module for site in group.gates}
    outputs = {r.module for r in trace.outputs}
    for use in trace.synapses:
        if not channels.touches(use.in_atoms, index):
            continue
        for source in use.sources - outputs:
            if source in group.layers:
                return f"its weights are used in the forward of '{source}', which is no layer"
    return "" if sites else "there is no place to silence it before it is removed"


def _fixed(trace: Trace, component: NDArray[np.int32], pinned: dict[int, str]) -> dict[str, str]:
    """The layers of which some output can't be removed, and the first reason met."""
    fixed: dict[str, str] = {}
    for use in trace.synapses:
        if (use.out_atoms == PIN).any() and use.out_atoms.numel() == 1:
            fixed.setdefault(use.layer, "it has one channel")
            continue
        for atom in use.out_atoms[use.out_atoms != PIN].tolist():
            if int(component[atom]) in pinned:
                fixed.setdefault(use.layer, pinned[int(component[atom])])
                break
    return fixed


def _unused(trace: Trace, component: NDArray[np.int32], met: set[int]) -> dict[str, str]:
    """The layers that the example input didn't reach: nothing is known of their channels."""
    unused: dict[str, str] = {}
    for leaf, dim, start, stop in _blocks(trace):
        names, tensor = trace.leaves[leaf]
        layer = names[0].rpartition(".")[0]
        module = trace.model.get_submodule(layer)
        if not isinstance(module, LAYERS) or tensor is not module.weight:
            continue
        if dim == output_axis(module) and met.isdisjoint(component[start:stop].tolist()):
            unused[layer] = "it was not used on the example input"
    return unused


def _uses(trace: Trace, channels: _Channels) -> list[Use]:
    """The uses of weights in one forward pass; a second pass of the trace repeats them."""
    spiking = {reading.module for reading in trace.neurons}
    return [
        Use(
            layer=u.layer,
            kind=u.kind,
            out=channels.both(u.out_atoms),
            into=channels.both(u.in_atoms),
            groups=u.groups,
            kernel=u.kernel,
            places=u.places,
            neurons=tuple(sorted(u.sources & spiking)),
        )
        for u in trace.synapses[: trace.uses]
    ]
