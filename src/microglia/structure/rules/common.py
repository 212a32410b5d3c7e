"""What the families of rules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microglia.structure.labels import PIN, varying
from microglia.structure.records import Mark

if TYPE_CHECKING:
    from microglia.structure.trace import Trace


def unknown(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    tensors = tensors_in((*args, *kwargs.values()))
    op = func._schema.name.removeprefix("aten::")
    if any(trace.mark(x).shadows for x in tensors):
        trace.refuse(op, tensors, f"the operation '{op}' is not known here; it stands")
    marks = [trace.mark(x) for x in tensors]
    static = bool(marks) and all(m.static for m in marks)
    sources = frozenset().union(*(m.sources for m in marks))
    return [Mark([torch.full([1] * y.dim(), PIN)], static=static, sources=sources) for y in results]


def like(trace: Trace, mark: Mark, shadows: list[Tensor]) -> Mark:
    return Mark(shadows, static=mark.static, weak=mark.weak, sources=mark.sources)


def along(atoms: Tensor, dim: int, rank: int) -> Tensor:
    return atoms.reshape([-1 if d == dim else 1 for d in range(rank)])


def atoms_of(trace: Trace, x: Tensor, dim: int) -> Tensor:
    """The atom of each position of a static tensor along a dimension, PIN where it has none."""
    for shadow in trace.mark(x).shadows:
        if varying(shadow) == (dim,):
            return shadow.reshape(-1)
        if dim in varying(shadow):
            trace.labels.pin(shadow, f"a weight whose axes are mixed in {trace.where}")
    return torch.full((x.shape[dim],), PIN)


def channels_of(trace: Trace, x: Tensor, dim: int, why: str) -> Tensor:
    """The atom of each channel of an activation; labels on other axes are pinned."""
    atoms = torch.full((x.shape[dim],), PIN)
    for shadow in trace.mark(x).shadows:
        if varying(shadow) == (dim,):
            atoms = shadow.reshape(-1)
        elif varying(shadow):
            trace.labels.pin(shadow, why)
    return atoms


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments or results of an operation, which nest one list deep."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(x for x in value if isinstance(x, Tensor))
    return found
