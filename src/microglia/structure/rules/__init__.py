"""How labels pass through each ATen operation.

Operations that only move data run once more on the shadow itself, so that no index arithmetic
is written by hand. Everything else is one of a few families: pointwise, synapses, norms,
pools, reductions. An operation of no family is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microglia.structure.labels import varying
from microglia.structure.records import Mark, address
from microglia.structure.rules.common import tensors_in, unknown
from microglia.structure.rules.moves import join, move, same, source, weak
from microglia.structure.rules.pointwise import pointwise, reduce, window
from microglia.structure.rules.synapses import convolution, matmul, norm

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
    tensors = tensors_in((*args, *kwargs.values()))
    results = tensors_in((out,))
    if not results:
        for x in tensors:
            trace.read(x)
        return
    if op not in MOVES and op not in ALIASES:
        for x in tensors:
            trace.read(x)
    if in_place:
        guard_aliases(trace, tensors)
    marks = _family(trace, func, op, tensors)(trace, func, args, kwargs, results)
    seen = {address(x) for x in tensors}
    for y, mark in zip(results, marks, strict=True):
        trace.set(y, mark)
        if in_place or address(y) not in seen:
            trace.wrote(y, op)


def _family(trace: Trace, func: Any, op: str, tensors: list[Tensor]) -> Callable[..., list[Mark]]:
    if op in MOVES:
        return move
    if op in SAME:
        return same
    if op in WEAK:
        return weak
    if op in SOURCES:
        return source
    if op in ("cat", "stack"):
        return join
    if op == "convolution":
        return convolution
    if op in ("mm", "addmm", "linear", "bmm", "baddbmm"):
        return matmul
    if op in NORM_OPS:
        return norm
    if "pool" in op or op.startswith("upsample") or op in ("constant_pad_nd", "reflection_pad2d"):
        return window
    if op in REDUCTIONS and torch.Tag.pointwise not in func.tags:
        return reduce
    if op in POINTWISE or torch.Tag.pointwise in func.tags:
        return pointwise
    if trace.neuron and not func._schema.name.startswith("aten::"):
        return pointwise  # a framework's own neuron kernel works neuron by neuron
    return unknown


def guard_aliases(trace: Trace, tensors: list[Tensor]) -> None:
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
