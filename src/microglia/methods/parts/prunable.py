"""Which groups of a network, or which of its weights, a method may prune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch

from microglia.errors import ConfigError, nearest
from microglia.structure import Group, Structure


def prunable_groups(
    structure: Structure, protect: Sequence[str], *, residual: str, linear: bool, method: str
) -> Structure:
    """The groups of channels that the method may prune."""
    layers = {layer for g in structure.groups for layer in g.layers}
    _check(protect, layers | set(structure.fixed))

    def chosen(group: Group) -> bool:
        kind = linear or group.kind == "conv"
        stream = residual == "tied" or not group.stream
        return kind and stream and not _guarded(group.layers, protect)

    left = structure.only(g for g in structure.groups if chosen(g))
    if not left.groups:
        hint = ""
        if protect:
            hint = f" protect={list(protect)} leaves alone what there would be."
        elif structure.groups:
            hint = " Pass linear=True to prune its linear and recurrent layers."
        raise ConfigError(f"'{method}' finds nothing to prune.{hint}\n{structure}")
    return left


def prunable_weights(structure: Structure, protect: Sequence[str], *, method: str) -> list[str]:
    """Names of the weights of the layers that carry spikes from neuron to neuron."""
    layers = {use.layer for use in structure.uses}
    _check(protect, layers)
    names = []
    for leaf in sorted(structure.parameters):
        users = {name.rpartition(".")[0] for name in structure.leaves[leaf]}
        matrix = len(structure.shapes[leaf]) > 1
        if users & layers and matrix and not _guarded(users, protect):
            names.append(structure.leaves[leaf][0])
    if not names:
        raise ConfigError(f"'{method}' finds nothing to prune.\n{structure}")
    return names


def named(names: Sequence[str], sparsity: Mapping[str, float], *, unit: str) -> list[str]:
    """Only those that a mapping of sparsities names."""
    for name in sparsity:
        if name not in names:
            hint = nearest(name, list(names))
            raise ConfigError(f"sparsity: there is no {unit} '{name}'.{hint}")
    return [name for name in names if name in sparsity]


def _check(protect: Sequence[str], layers: Iterable[str]) -> None:
    if isinstance(protect, str):
        raise ConfigError(f"protect: wanted a list of patterns, such as [{protect!r}]; got a text")
    for pattern in protect:
        if not _guarded(layers, [pattern]):
            hint = nearest(pattern, sorted(layers))
            raise ConfigError(f"protect: no layer is called '{pattern}'.{hint}")


def _guarded(layers: Iterable[str], protect: Sequence[str]) -> bool:
    return any(fnmatch(layer, pattern) for layer in layers for pattern in protect)
