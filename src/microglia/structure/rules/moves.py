"""Operations that move data or hand it on: the shadow goes the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microglia.structure.labels import ANYWHERE, PIN, compress, full, varying
from microglia.structure.records import Mark
from microglia.structure.rules.common import along, like, tensors_in
from microglia.structure.rules.pointwise import merge

if TYPE_CHECKING:
    from microglia.structure.trace import Trace

PARTS = frozenset("unbind split split_with_sizes chunk select slice narrow expand repeat".split())


def move(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    mark = trace.mark(x)
    outs: list[list[Tensor]] = [[] for _ in results]
    for shadow in mark.shadows:
        before = len(varying(shadow))
        try:
            moved = [compress(m) for m in _follow(func, full(shadow, x.shape), args[1:], kwargs)]
        except RuntimeError:
            trace.refuse(str(func), [x], f"'{func}' could not be followed")
            moved = [torch.full([1] * y.dim(), PIN) for y in results]
        op = func._schema.name.removeprefix("aten::")
        if op in PARTS:
            _parts(trace, shadow, moved, func)
        if op == "roll" and not torch.equal(moved[0], shadow):
            # Which channels come round depends on how many there are.
            trace.labels.pin(shadow, f"'roll' shifts channels in {trace.where}")
        for i, part in enumerate(moved):
            dims = varying(part)
            if len(dims) > before:
                # A channel axis was split in two: heads, or the groups of a shuffle. Equal
                # counts in every part keep the shape valid.
                for d in dims[:-1]:
                    trace.labels.tie(part, part.narrow(d, 0, 1), "split unevenly")
            if dims or (part == PIN).all():
                outs[i].append(part)
    return [like(trace, mark, shadows) for shadows in outs]


def _follow(func: Any, shadow: Tensor, args: Any, kwargs: Any) -> list[Tensor]:
    try:
        # Unwritten, what is constant has stride 0, and most moves leave it so.
        return tensors_in((func(shadow, *args, **kwargs),))
    except RuntimeError:  # no such view of it
        return tensors_in((func(shadow.clone(), *args, **kwargs),))


def _parts(trace: Trace, shadow: Tensor, parts: list[Tensor], func: Any) -> None:
    """Pieces of a labelled axis: equal halves go together, picked channels are pinned."""
    if all(p.numel() == shadow.numel() for p in parts):
        return  # the axis that was cut carries no labels
    whole = sum(p.numel() for p in parts) == shadow.numel()
    if whole and all(p.shape == parts[0].shape and varying(p) for p in parts):
        for part in parts[1:]:
            trace.labels.tie(part, parts[0], "split unevenly")
        return
    name = func._schema.name.removeprefix("aten::")
    trace.labels.pin(shadow, f"'{name}' picks out or repeats channels in {trace.where}")


def same(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    mark = trace.mark(args[0])
    return [like(trace, mark, list(mark.shadows)) for _ in results]


def weak(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    return [Mark([], static=True, weak=True) for _ in results]


def source(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    return [Mark([], static=True) for _ in results]


def join(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    parts: list[Tensor] = [x for x in args[0] if x.numel()]
    marks = [trace.mark(x) for x in parts]
    out = results[0]
    sources = frozenset().union(*(m.sources for m in marks))
    static = all(m.static for m in marks)
    if "stack" in func._schema.name:
        dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
        lifted = [(x.unsqueeze(dim), m) for x, m in zip(parts, marks, strict=True)]
        shadows: list[Tensor] = []
        for _, mark in lifted:
            for shadow in mark.shadows:
                merge(trace, shadows, shadow.unsqueeze(dim))
        return [Mark(shadows, static=static, sources=sources)]
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    labelled = any(dim in varying(s) for m in marks for s in m.shadows)
    others: list[Tensor] = []
    pieces = []
    for x, mark in zip(parts, marks, strict=True):
        # A constant fill takes any width: labels of its own, for others to tie to.
        blank = trace.labels.new(ANYWHERE, dim, x.shape[dim]) if mark.weak else None
        piece = along(torch.full((x.shape[dim],), PIN) if blank is None else blank, dim, out.dim())
        for shadow in mark.shadows:
            if varying(shadow) == (dim,):
                piece = shadow
            elif dim in varying(shadow):
                trace.labels.pin(
                    shadow, f"concatenated across a split channel axis in {trace.where}"
                )
            else:
                merge(trace, others, shadow)
        pieces.append(piece)
    if labelled:
        others.append(torch.cat(pieces, dim))
    return [Mark(others, static=static, weak=all(m.weak for m in marks), sources=sources)]
