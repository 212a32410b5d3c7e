"""The structure of a network, with every group proved removable."""

from __future__ import annotations

from typing import Any

from torch import nn

from microglia.errors import StructureError
from microglia.structure import Structure, trace_structure
from microglia.surgery.rehearsal import rehearse


def analyse(model: nn.Module, example_input: Any) -> Structure:
    """What the network is made of; `print` it.

    The network is traced, then half of every group is removed from a copy, which must compute
    what the network computes with these channels silent. A group for which it doesn't (a literal
    size in a `view`, a constant added after a neuron) is closed to pruning and listed with the
    reason.

    Args:
        model: the network, left exactly as it was. Its first `bn -> neuron` decides a layer.
        example_input: `[N, C, H, W]` or `[T, N, C, H, W]`, as the network takes it; a tuple is
            taken as several arguments. A batch of one or two is enough.

    Raises:
        StructureError: no spiking neuron, a wrapped network, a tensor of unknown history, or a
            forward that fails on the example input.
    """
    structure = trace_structure(model, example_input)
    groups = [g for g in structure.groups if g.size > 1]
    if not groups or rehearse(model, structure, groups, example_input) is None:
        return structure
    reasons: dict[str, str] = {}
    for group in groups:
        wrong = rehearse(model, structure, [group], example_input)
        if wrong is not None:
            reasons[group.name] = wrong
    left = structure.frozen(reasons)
    groups = [g for g in left.groups if g.size > 1]
    if groups and (wrong := rehearse(model, left, groups, example_input)) is not None:
        raise StructureError(
            f"{structure.network} can do with any one group narrower but not with all of them: "
            f"{wrong}. Take literal sizes out of its forward, or name layers in protect=."
        )
    return left
