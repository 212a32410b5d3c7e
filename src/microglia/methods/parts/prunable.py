"""Which groups of a network a method may prune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

from microglia.errors import ConfigError, nearest
from microglia.structure import Group, Structure


def prunable(
    structure: Structure, protect: Sequence[str], *, residual: str, linear: bool, name: str
) -> Structure:
    """The groups that the method may prune."""
    if isinstance(protect, str):
        raise ConfigError(f"protect: wanted a list of patterns, such as [{protect!r}]; got a text")
    layers = [layer for g in structure.groups for layer in g.layers]
    known = sorted({*layers, *structure.fixed})
    for pattern in protect:
        if not any(fnmatch(layer, pattern) for layer in known):
            raise ConfigError(f"protect: no layer is called '{pattern}'.{nearest(pattern, known)}")

    def chosen(group: Group) -> bool:
        if any(fnmatch(layer, pattern) for layer in group.layers for pattern in protect):
            return False
        return (linear or group.kind == "conv") and (residual == "tied" or not group.stream)

    left = structure.only(g for g in structure.groups if chosen(g))
    if not left.groups:
        hint = ""
        if protect:
            hint = f" protect={list(protect)} leaves alone what there would be."
        elif structure.groups:
            hint = " Pass linear=True to prune its linear and recurrent layers."
        raise ConfigError(f"'{name}' finds nothing to prune.{hint}\n{structure}")
    return left


def named(structure: Structure, sparsity: Mapping[str, float]) -> Structure:
    """Only the groups that a mapping of sparsities names (by any of their layers)."""
    names = [g.name for g in structure.groups]
    for name in sparsity:
        if name not in names:
            raise ConfigError(f"sparsity: there is no group '{name}'.{nearest(name, names)}")
    return structure.only(g for g in structure.groups if g.name in sparsity)
