"""Norms folded into the convolution or linear layer before them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor, nn

from microglia.runtime.trace import Call, Operation, Trace, View

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.modules.batchnorm._BatchNorm,)

_NORMALISE = {
    "aten::native_batch_norm",
    "aten::cudnn_batch_norm",
    "aten::miopen_batch_norm",
    "aten::_native_batch_norm_legit_no_training",
}


def give_biases(model: nn.Module) -> None:
    """A bias of zero for each layer that has none, so that a trace shows whether it is used."""
    for layer in model.modules():
        if isinstance(layer, LAYERS) and layer.bias is None:
            zeros = layer.weight.new_zeros(layer.weight.shape[0])
            layer.bias = nn.Parameter(zeros, requires_grad=False)


def foldable(model: nn.Module, trace: Trace) -> dict[str, str]:
    """Norm -> the layer that it can be folded into without any other change to the network.

    That is certain where, in the run that was traced, the norm read nothing but this layer's
    output, all of it and in the same order; nobody else read that output; the layer used its own
    weight and bias as they are, and nobody else did; and the norm did nothing but normalise with
    its running statistics. What isn't certain is left out.
    """
    modules = dict(model.named_modules())
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    pairs: dict[str, str] = {}
    for name, norm in modules.items():
        if not isinstance(norm, NORMS) or name in trace.unclear or _has_hooks(norm):
            continue
        calls = trace.calls[name]
        sources = {_source(trace, call) for call in calls}
        for source in sources if len(sources) == 1 else ():
            layer = modules.get(source or "")
            if isinstance(layer, LAYERS) and _rules_itself(layer, owners):
                uses = _uses(layer, trace)
                if uses is not None and len(uses) == len(calls):
                    pairs[name] = source or ""
    return pairs


def fold(layer: Any, norm: Any) -> None:
    """Let the layer compute what it and the norm computed together; the norm passes it on.

    y = γ (W x + b − μ) / √(σ² + ε) + β = W' x + b', in float64, with s = γ / √(σ² + ε):
    W' = s W and b' = s (b − μ) + β.
    """
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double()
    if layer.bias is not None:
        shift = shift + layer.bias.double()
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    weight: Tensor = layer.weight
    scaled = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
    # Changed rather than replaced, for the network may hold it under several names.
    norm.__class__ = nn.Identity
    norm._parameters.clear()
    norm._buffers.clear()


def _source(trace: Trace, call: Call) -> str | None:
    """The layer whose output this call of a norm normalises, None where that isn't certain."""
    given, gave = call.input.block, call.output.block
    places = [p for p in call.inside if p in trace.touching[given] or p in trace.touching[gave]]
    if len(places) != 1 or call.input.shape != call.output.shape:
        return None
    norm = trace.operations[places[0]]
    if not _normalises(norm) or norm.output is None or norm.output.block != gave:
        return None
    x: View = norm.arguments[0]
    touching = trace.touching[x.block]
    source = trace.operations[touching[0]]
    if len(touching) != 2 or x.block in trace.kept or source.output != x:
        return None
    return source.module


def _normalises(operation: Operation) -> bool:
    """Whether it is a batch norm by running statistics."""
    if operation.name not in _NORMALISE or operation.keywords:
        return False
    by_name = operation.name == "aten::_native_batch_norm_legit_no_training"
    return by_name or not operation.arguments[5]


def _rules_itself(layer: nn.Module, owners: Counter[int]) -> bool:
    """Neither a hook, nor a parametrisation, nor another module has a say in what it computes."""
    own = [layer._parameters.get("weight"), layer._parameters.get("bias")]
    return not _has_hooks(layer) and all(p is not None and owners[id(p)] == 1 for p in own)


def _uses(layer: Any, trace: Trace) -> list[Operation] | None:
    """The operations that used the weight or bias; None if one is no plain use of both."""
    weight, bias = trace.view(layer.weight), trace.view(layer.bias)
    places = {*trace.touching[weight.block], *trace.touching[bias.block]}
    uses = [trace.operations[place] for place in places]
    return uses if all(_plain_use(use, weight, bias) for use in uses) else None


def _plain_use(use: Operation, weight: View, bias: View) -> bool:
    if use.keywords:
        return False
    if use.name == "aten::convolution":
        transposed = use.arguments[6]
        return use.arguments[1:3] == (weight, bias) and not transposed
    if use.name == "aten::addmm":
        turned = View(weight.block, weight.offset, weight.shape[::-1], weight.stride[::-1])
        return bool(use.arguments[0] == bias and use.arguments[2] == turned)
    return False


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
