"""The structure of a network, with every group proved removable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from microglia.errors import StructureError
from microglia.structure import Group, Structure, as_arguments, trace_structure
from microglia.surgery.cut import cut


def analyse(model: nn.Module, example_input: Any) -> Structure:
    """What the network is made of; `print` it.

    The network is traced, then one channel of every group is removed from a copy, which must
    still run. A group that it breaks on (a literal size in a `view`, say) is closed to pruning
    and listed with the error.

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
    if not groups or _breaks(model, structure, groups, example_input) is None:
        return structure
    reasons: dict[str, str] = {}
    for group in groups:
        error = _breaks(model, structure, [group], example_input)
        if error is not None:
            reasons[group.name] = f"the network fails when it is narrower: {error}"
    left = structure.frozen(reasons)
    if left.groups and (error := _breaks(model, left, left.groups, example_input)) is not None:
        raise StructureError(
            f"{structure.network} runs with any one group cut but not with all of them: {error}. "
            "Take literal sizes out of its forward, or name layers in protect=."
        )
    return left


def _breaks(
    model: nn.Module, structure: Structure, groups: Iterable[Group], example_input: Any
) -> str | None:
    """The error that the network raises with one channel less in each of these groups."""
    keep = {g.name: torch.arange(g.size) > 0 for g in groups if g.size > 1}
    small, _ = cut(model, structure, keep)
    small = small.cpu().eval()
    arguments = tree_map(
        lambda x: x.detach().cpu() if isinstance(x, Tensor) else x, as_arguments(example_input)
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            for _ in range(2):
                small(*arguments)
        except Exception as error:
            return str(error).splitlines()[0]
    return None
