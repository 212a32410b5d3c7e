"""Element by element, over windows, and summed: what meets is tied."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microglia.structure.labels import PIN, varying
from microglia.structure.records import Mark
from microglia.structure.rules.common import like, tensors_in, unknown

if TYPE_CHECKING:
    from microglia.structure.trace import Trace


def pointwise(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    operands = tensors_in((*args, *kwargs.values()))
    marks = [trace.mark(x) for x in operands]
    rank = max((x.dim() for x in operands), default=0)
    backwards = zip_longest(*(reversed(x.shape) for x in operands), fillvalue=1)
    shape = torch.Size([max(sizes) for sizes in backwards][::-1])  # as they broadcast
    if any(y.shape != shape for y in results):
        return unknown(trace, func, args, kwargs, results)
    shadows: list[Tensor] = []
    for x, mark in zip(operands, marks, strict=True):
        for shadow in mark.shadows:
            merge(trace, shadows, shadow.reshape([1] * (rank - x.dim()) + list(shadow.shape)))
    free = [s for s in shadows if not _meets_fixed(trace, s, operands, marks, rank)]
    streams = [m for m in marks if m.shadows and not m.static]
    op = func._schema.name.split("::")[1].rstrip("_")
    if op in ("add", "sub") and len(streams) > 1 and not trace.neuron:
        trace.sums.extend(s for m in streams for s in m.shadows)
    silent = bool(trace.neuron)
    sources = frozenset[str]() if silent else frozenset().union(*(m.sources for m in marks))
    weak = all(m.weak or x.numel() == 1 for x, m in zip(operands, marks, strict=True))
    static = all(m.static for m in marks)
    return [Mark(free, static=static, weak=weak, sources=sources) for _ in results]


def _meets_fixed(
    trace: Trace, shadow: Tensor, operands: list[Tensor], marks: list[Mark], rank: int
) -> bool:
    """Pin a shadow along whose axis another operand has channels of its own without labels."""
    for x, mark in zip(operands, marks, strict=True):
        lead = rank - x.dim()
        own = {d + lead for s in mark.shadows for d in varying(s)}
        for d in varying(shadow):
            if not mark.weak and d not in own and d >= lead and x.shape[d - lead] > 1:
                why = f"meets a tensor whose channels can't be removed in {trace.where}"
                trace.labels.pin(shadow, why)
                return True
    return False


def merge(trace: Trace, shadows: list[Tensor], new: Tensor) -> None:
    """Tie a shadow to the ones that share a dimension with it, keep it where none does."""
    for i, old in enumerate(shadows):
        if set(varying(old)) & set(varying(new)):
            trace.labels.tie(old, new, f"meets fixed channels in {trace.where}")
            if len(varying(new)) > len(varying(old)):
                shadows[i] = new
            return
    shadows.append(new)


def window(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    """Pooling, padding, upsampling: fine as long as no label varies over space."""
    x = args[0]
    mark = trace.mark(x)
    op = func._schema.name.split("::")[1]
    reach = 3 if "3d" in op else 1 if "1d" in op else 2
    if op == "constant_pad_nd":
        reach = len(args[1]) // 2
    space = {x.dim() - i for i in range(1, reach + 1)}
    for shadow in mark.shadows:
        if space & set(varying(shadow)):
            trace.refuse(op, [x], f"'{op}' over a labelled axis")
    return [like(trace, mark, [s for s in mark.shadows if not space & set(varying(s))])] * len(
        results
    )


def reduce(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    mark = trace.mark(x)
    named = [a.name for a in func._schema.arguments]
    given = dict(zip(named, args, strict=False)) | kwargs
    if isinstance(given.get("other"), Tensor):
        return pointwise(trace, func, args, kwargs, results)
    dims = given.get("dim")
    chosen = list(range(x.dim())) if dims is None or dims == [] else dims
    chosen = (
        {d % x.dim() for d in ([chosen] if isinstance(chosen, int) else chosen)}
        if x.dim()
        else set()
    )
    keep = bool(given.get("keepdim", False))
    shadows: list[Tensor] = []
    lost = False
    for shadow in mark.shadows:
        if chosen & set(varying(shadow)):
            trace.labels.pin(
                shadow,
                f"'{func._schema.name.removeprefix('aten::')}' over channels in {trace.where}",
            )
            lost = True
            continue
        for d in sorted(chosen, reverse=True):
            if not keep:
                shadow = shadow.squeeze(d)
        shadows.append(shadow)
    if lost and results[0].numel() > 1:
        shadows.append(torch.full([1] * results[0].dim(), PIN))
    return [Mark(shadows, static=mark.static, sources=mark.sources) for _ in results]
