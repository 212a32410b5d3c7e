"""How labels pass through each ATen operation.

Operations that only move data run once more on the shadow itself, so that no index arithmetic
is written by hand. Everything else is one of a few families: pointwise, synapses, norms,
pools, reductions. An operation of no family is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from microglia.structure.labels import ANYWHERE, PIN, compress, full, varying
from microglia.structure.records import Mark, Synapses, address

if TYPE_CHECKING:
    from microglia.structure.trace import Trace

MOVES = frozenset(
    "view _unsafe_view reshape _reshape_alias permute t transpose unsqueeze squeeze expand repeat "
    "flip roll pixel_unshuffle unbind split split_with_sizes chunk select slice narrow".split()
)
ALIASES = frozenset("detach alias lift lift_fresh".split())
SAME = ALIASES | frozenset("clone contiguous _to_copy native_dropout dropout".split())
WEAK = frozenset(
    "zeros ones full empty scalar_tensor new_zeros new_ones new_full new_empty zeros_like "
    "ones_like full_like empty_like bernoulli rand randn rand_like randn_like empty_strided "
    "new_empty_strided".split()
)
POINTWISE = frozenset(
    "add sub rsub mul div where clamp clamp_min clamp_max maximum minimum pow copy fill zero "
    "masked_fill lerp addcmul addcdiv native_dropout_backward heaviside".split()
)
SOURCES = frozenset("arange linspace eye tril_indices randint randperm".split())
NORM_OPS = frozenset(
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
    "_native_batch_norm_legit_functional cudnn_batch_norm miopen_batch_norm _batch_norm_no_update "
    "_batch_norm_with_update batch_norm".split()
)
REDUCTIONS = frozenset("mean sum amax amin max min any all prod var std norm".split())
PARTS = frozenset("unbind split split_with_sizes chunk select slice narrow expand repeat".split())
IN_PLACE_SAFE = (
    frozenset(
        {"convolution", "addmm", "mm", "linear", "add", "sub", "mul", "clone", "cat", "stack"}
    )
    | NORM_OPS
)
"""Operations whose backward doesn't read their own output."""


def pass_labels(
    trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> None:
    """Follow the labels through one operation."""
    name = func._schema.name.split("::")[1]
    in_place = name.endswith("_") and not name.endswith("__")
    op = name.rstrip("_") if in_place else name
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    results = [y for y in tree_leaves(out) if isinstance(y, Tensor)]
    if not results:
        for x in tensors:
            trace.read(x)
        return
    if op not in MOVES and op not in ALIASES:
        for x in tensors:
            trace.read(x)
    if in_place:
        _guard_aliases(trace, tensors)
    marks = _family(trace, func, op, tensors)(trace, func, args, kwargs, results)
    seen = {address(x) for x in tensors}
    for y, mark in zip(results, marks, strict=True):
        trace.set(y, mark)
        if in_place or address(y) not in seen:
            trace.wrote(y, op)


def _family(trace: Trace, func: Any, op: str, tensors: list[Tensor]) -> Callable[..., list[Mark]]:
    if op in MOVES:
        return _move
    if op in SAME:
        return _same
    if op in WEAK:
        return _weak
    if op in SOURCES:
        return _source
    if op in ("cat", "stack"):
        return _join
    if op == "convolution":
        return _convolution
    if op in ("mm", "addmm", "linear", "bmm", "baddbmm"):
        return _matmul
    if op in NORM_OPS:
        return _norm
    if "pool" in op or op.startswith("upsample") or op in ("constant_pad_nd", "reflection_pad2d"):
        return _window
    if op in REDUCTIONS and torch.Tag.pointwise not in func.tags:
        return _reduce
    if op in POINTWISE or torch.Tag.pointwise in func.tags:
        return _pointwise
    if trace.neuron and not func._schema.name.startswith("aten::"):
        return _pointwise  # a framework's own neuron kernel works neuron by neuron
    return _unknown


# --- families -------------------------------------------------------------------------------


def _move(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    mark = trace.mark(x)
    outs: list[list[Tensor]] = [[] for _ in results]
    for shadow in mark.shadows:
        before = len(varying(shadow))
        written = full(shadow, x.shape)
        try:
            moved = [compress(m) for m in tree_leaves(func(written.clone(), *args[1:], **kwargs))]
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
    return [_like(trace, mark, shadows) for shadows in outs]


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


def _same(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    mark = trace.mark(args[0])
    return [_like(trace, mark, list(mark.shadows)) for _ in results]


def _weak(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    return [Mark([], static=True, weak=True) for _ in results]


def _source(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    return [Mark([], static=True) for _ in results]


def _pointwise(
    trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]
) -> list[Mark]:
    operands = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    marks = [trace.mark(x) for x in operands]
    rank = max((x.dim() for x in operands), default=0)
    shape = torch.broadcast_shapes(*(x.shape for x in operands))
    if any(y.shape != shape for y in results):
        return _unknown(trace, func, args, kwargs, results)
    shadows: list[Tensor] = []
    for x, mark in zip(operands, marks, strict=True):
        for shadow in mark.shadows:
            _merge(trace, shadows, shadow.reshape([1] * (rank - x.dim()) + list(shadow.shape)))
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


def _merge(trace: Trace, shadows: list[Tensor], new: Tensor) -> None:
    """Tie a shadow to the ones that share a dimension with it, keep it where none does."""
    for i, old in enumerate(shadows):
        if set(varying(old)) & set(varying(new)):
            trace.labels.tie(old, new, f"meets fixed channels in {trace.where}")
            if len(varying(new)) > len(varying(old)):
                shadows[i] = new
            return
    shadows.append(new)


def _join(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
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
                _merge(trace, shadows, shadow.unsqueeze(dim))
        return [Mark(shadows, static=static, sources=sources)]
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    along = any(dim in varying(s) for m in marks for s in m.shadows)
    others: list[Tensor] = []
    pieces = []
    for x, mark in zip(parts, marks, strict=True):
        # A constant fill takes any width: labels of its own, for others to tie to.
        blank = trace.labels.new(ANYWHERE, dim, x.shape[dim]) if mark.weak else None
        piece = _along(torch.full((x.shape[dim],), PIN) if blank is None else blank, dim, out.dim())
        for shadow in mark.shadows:
            if varying(shadow) == (dim,):
                piece = shadow
            elif dim in varying(shadow):
                trace.labels.pin(
                    shadow, f"concatenated across a split channel axis in {trace.where}"
                )
            else:
                _merge(trace, others, shadow)
        pieces.append(piece)
    if along:
        others.append(torch.cat(pieces, dim))
    return [Mark(others, static=static, weak=all(m.weak for m in marks), sources=sources)]


def _convolution(
    trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]
) -> list[Mark]:
    x, weight, bias = args[0], args[1], args[2]
    transposed, groups = bool(args[6]), int(args[8])
    out = results[0]
    w_mark, x_mark = trace.mark(weight), trace.mark(x)
    spatial = set(range(2, weight.dim()))
    if not w_mark.static or weight.dim() != out.dim():
        return _unknown(trace, func, args, kwargs, results)
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    w_out, w_in = _atoms(trace, weight, out_axis), _atoms(trace, weight, in_axis)
    for shadow in w_mark.shadows:
        if set(varying(shadow)) & spatial:
            trace.labels.pin(shadow, "it is a kernel's extent")
    x_in = _channel(trace, x, 1, f"varies over space or time at {trace.where}")
    if groups == 1:
        x_in = w_in if x_mark.weak else x_in
        trace.labels.tie(w_in, x_in, f"reads the network's input in {trace.where}")
        in_atoms, out_atoms = x_in, w_out
    elif transposed:
        return _unknown(trace, func, args, kwargs, results)
    elif groups == x.shape[1]:
        # Depthwise: output channels m*i .. m*i + m - 1 read input channel i alone.
        trace.labels.tie(w_out.reshape(groups, -1), x_in.reshape(-1, 1), "reads fixed channels")
        in_atoms, out_atoms = x_in, w_out
    else:
        # Equal counts in every group: the i-th channels of all groups go together.
        reads, writes = x_in.reshape(groups, -1), w_out.reshape(groups, -1)
        trace.labels.tie(reads, w_in.reshape(1, -1), "reads fixed channels")
        trace.labels.tie(writes, writes[:1], "uneven groups")
        in_atoms, out_atoms = x_in, w_out
    if bias is not None:
        trace.labels.tie(_atoms(trace, bias, 0), w_out, "bias")
        trace.read(bias)
    trace.synapse(
        Synapses(
            layer=trace.layer,
            kind="conv",
            out_atoms=out_atoms,
            in_atoms=in_atoms,
            groups=groups,
            kernel=prod(weight.shape[2:]),
            places=x.numel() // x.shape[1] if transposed else out.numel() // out.shape[1],
            sources=x_mark.sources,
        )
    )
    shadow = _along(out_atoms, 1, out.dim())
    return [Mark([shadow] if varying(shadow) else [], sources=frozenset({trace.layer}))]


def _matmul(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    op = func._schema.name.split("::")[1]
    bias = None
    if op in ("addmm", "baddbmm"):
        bias, x, w = args[0], args[1], args[2]
    elif op == "linear":
        x, w = args[0], args[1]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
    else:
        x, w = args[0], args[1]
    x_mark, w_mark = trace.mark(x), trace.mark(w)
    if x_mark.static and not w_mark.static and op != "linear":
        return _unknown(trace, func, args, kwargs, results)
    if not w_mark.static:
        trace.refuse("attention", [x, w], "attention (a product of two activations)")
        out = results[0]
        return [Mark([torch.full([1] * out.dim(), PIN)])]
    in_axis, out_axis = (1, 0) if op == "linear" else (w.dim() - 2, w.dim() - 1)
    if op in ("bmm", "baddbmm"):
        for mark, tensor in ((x_mark, x), (w_mark, w)):
            for shadow in mark.shadows:
                if 0 in varying(shadow):
                    trace.refuse(op, [tensor], "a batched product with labelled batches")
    w_in, w_out = _atoms(trace, w, in_axis), _atoms(trace, w, out_axis)
    x_in = _channel(trace, x, x.dim() - 1, f"varies along another axis at {trace.where}")
    x_in = w_in if x_mark.weak else x_in
    trace.labels.tie(w_in, x_in, f"reads the network's input in {trace.where}")
    if bias is not None:
        trace.labels.tie(_atoms(trace, bias, bias.dim() - 1), w_out, "bias")
    out = results[0]
    trace.synapse(
        Synapses(
            layer=trace.layer,
            kind="linear",
            out_atoms=w_out,
            in_atoms=x_in,
            groups=1,
            kernel=1,
            places=out.numel() // out.shape[-1],
            sources=x_mark.sources,
        )
    )
    shadow = _along(w_out, out.dim() - 1, out.dim())
    return [
        Mark(
            [shadow] if varying(shadow) else [],
            static=x_mark.static,
            sources=frozenset({trace.layer}),
        )
    ]


def _norm(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    channels = _channel(trace, x, 1, f"varies over space or time at {trace.where}")
    for parameter in args[1:5]:
        if isinstance(parameter, Tensor) and parameter.dim() == 1:
            atoms = _atoms(trace, parameter, 0)
            if atoms.numel() == channels.numel():
                trace.labels.tie(atoms, channels, f"norm of fixed channels in {trace.where}")
    shadow = _along(channels, 1, x.dim())
    mark = Mark([shadow] if varying(shadow) else [], sources=frozenset({trace.layer}))
    return [mark] + [Mark([], static=True) for _ in results[1:]]


def _window(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
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
    return [_like(trace, mark, [s for s in mark.shadows if not space & set(varying(s))])] * len(
        results
    )


def _reduce(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    mark = trace.mark(x)
    named = [a.name for a in func._schema.arguments]
    given = dict(zip(named, args, strict=False)) | kwargs
    if isinstance(given.get("other"), Tensor):
        return _pointwise(trace, func, args, kwargs, results)
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


def _unknown(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    op = func._schema.name.removeprefix("aten::")
    if any(trace.mark(x).shadows for x in tensors):
        trace.refuse(op, tensors, f"the operation '{op}' is not known here; it stands")
    marks = [trace.mark(x) for x in tensors]
    static = bool(marks) and all(m.static for m in marks)
    sources = frozenset().union(*(m.sources for m in marks))
    return [Mark([torch.full([1] * y.dim(), PIN)], static=static, sources=sources) for y in results]


# --- helpers --------------------------------------------------------------------------------


def _like(trace: Trace, mark: Mark, shadows: list[Tensor]) -> Mark:
    return Mark(shadows, static=mark.static, weak=mark.weak, sources=mark.sources)


def _along(atoms: Tensor, dim: int, rank: int) -> Tensor:
    return atoms.reshape([-1 if d == dim else 1 for d in range(rank)])


def _atoms(trace: Trace, x: Tensor, dim: int) -> Tensor:
    """The atom of each position of a static tensor along a dimension, PIN where it has none."""
    for shadow in trace.mark(x).shadows:
        if varying(shadow) == (dim,):
            return shadow.reshape(-1)
        if dim in varying(shadow):
            trace.labels.pin(shadow, f"a weight whose axes are mixed in {trace.where}")
    return torch.full((x.shape[dim],), PIN)


def _channel(trace: Trace, x: Tensor, dim: int, why: str) -> Tensor:
    """The atom of each channel of an activation; labels on other axes are pinned."""
    atoms = torch.full((x.shape[dim],), PIN)
    for shadow in trace.mark(x).shadows:
        if varying(shadow) == (dim,):
            atoms = shadow.reshape(-1)
        elif varying(shadow):
            trace.labels.pin(shadow, why)
    return atoms


def _guard_aliases(trace: Trace, tensors: list[Tensor]) -> None:
    """Refuse labels written into a tensor through another view of it, where they would be lost."""
    target = tensors[0]
    if any(varying(s) for s in trace.mark(target).shadows):
        return
    whole = target.untyped_storage().nbytes() == target.numel() * target.element_size()
    if whole and not trace.has_alias(target):
        return
    for x in tensors[1:]:
        for shadow in trace.mark(x).shadows:
            trace.labels.pin(shadow, f"written in place into a part of a tensor in {trace.where}")
