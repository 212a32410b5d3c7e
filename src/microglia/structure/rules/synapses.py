"""Weights in use: convolutions, matrix products, norms."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microglia.structure.labels import PIN, varying
from microglia.structure.records import Mark, Synapses
from microglia.structure.rules.common import along, atoms_of, channels_of, unknown

if TYPE_CHECKING:
    from microglia.structure.trace import Trace


def convolution(
    trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]
) -> list[Mark]:
    x, weight, bias = args[0], args[1], args[2]
    transposed, groups = bool(args[6]), int(args[8])
    out = results[0]
    w_mark, x_mark = trace.mark(weight), trace.mark(x)
    spatial = set(range(2, weight.dim()))
    if not w_mark.static or weight.dim() != out.dim():
        return unknown(trace, func, args, kwargs, results)
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    w_out, w_in = atoms_of(trace, weight, out_axis), atoms_of(trace, weight, in_axis)
    for shadow in w_mark.shadows:
        if set(varying(shadow)) & spatial:
            trace.labels.pin(shadow, "it is a kernel's extent")
    x_in = channels_of(trace, x, 1, f"varies over space or time at {trace.where}")
    if groups == 1:
        x_in = w_in if x_mark.weak else x_in
        trace.labels.tie(w_in, x_in, f"reads the network's input in {trace.where}")
        in_atoms, out_atoms = x_in, w_out
    elif transposed:
        return unknown(trace, func, args, kwargs, results)
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
        trace.labels.tie(atoms_of(trace, bias, 0), w_out, "bias")
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
    shadow = along(out_atoms, 1, out.dim())
    return [Mark([shadow] if varying(shadow) else [], sources=frozenset({trace.layer}))]


def matmul(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
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
        return unknown(trace, func, args, kwargs, results)
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
    w_in, w_out = atoms_of(trace, w, in_axis), atoms_of(trace, w, out_axis)
    x_in = channels_of(trace, x, x.dim() - 1, f"varies along another axis at {trace.where}")
    x_in = w_in if x_mark.weak else x_in
    trace.labels.tie(w_in, x_in, f"reads the network's input in {trace.where}")
    if bias is not None:
        trace.labels.tie(atoms_of(trace, bias, bias.dim() - 1), w_out, "bias")
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
    shadow = along(w_out, out.dim() - 1, out.dim())
    return [
        Mark(
            [shadow] if varying(shadow) else [],
            static=x_mark.static,
            sources=frozenset({trace.layer}),
        )
    ]


def norm(trace: Trace, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Mark]:
    x = args[0]
    channels = channels_of(trace, x, 1, f"varies over space or time at {trace.where}")
    for parameter in args[1:5]:
        if isinstance(parameter, Tensor) and parameter.dim() == 1:
            atoms = atoms_of(trace, parameter, 0)
            if atoms.numel() == channels.numel():
                trace.labels.tie(atoms, channels, f"norm of fixed channels in {trace.where}")
    shadow = along(channels, 1, x.dim())
    mark = Mark([shadow] if varying(shadow) else [], sources=frozenset({trace.layer}))
    return [mark] + [Mark([], static=True) for _ in results[1:]]
