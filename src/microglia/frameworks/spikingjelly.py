"""SpikingJelly's neurons, single- and multi-step, and its recurrent containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import base, layer, neuron
from torch import Tensor, nn

from microglia.frameworks.kinds import NeuronKind, Observation, first_samples, first_tensor

_INTEGRATE = (neuron.IFNode, neuron.SimpleIFNode)
_LEAK = (neuron.LIFNode, neuron.SimpleLIFNode, neuron.ParametricLIFNode)


def _charge(module: Any) -> Callable[[Tensor | float, Tensor], Tensor] | None:
    """The charging equation H_t = f(V_{t-1}, X_t) of the module, None where it isn't known here.

    A subclass may charge, fire or reset otherwise, so only the classes themselves are known.
    """
    rest = 0.0 if module.v_reset is None else module.v_reset
    known = getattr(type(module), "scans", type(module))  # the runtime's scan charges as its class
    if known in _INTEGRATE:
        return lambda v, x: v + x
    if known not in _LEAK:
        return None
    rate: float | Tensor = (
        module.w.detach().sigmoid()
        if isinstance(module, neuron.ParametricLIFNode)
        else 1.0 / module.tau
    )
    if module.decay_input:
        return lambda v, x: v + (x - (v - rest)) * rate
    return lambda v, x: v - (v - rest) * rate + x


def _decay(module: Any) -> float | None:
    known = getattr(type(module), "scans", type(module))
    if known in _INTEGRATE:
        return 1.0
    if known not in _LEAK:
        return None
    if isinstance(module, neuron.ParametricLIFNode):
        return 1.0 - float(module.w.detach().sigmoid())
    return 1.0 - 1.0 / float(module.tau)


def _observe(
    module: Any, current: Tensor, before: Any, output: Any, samples: int | None
) -> Observation:
    """Run the charging equation again beside the spikes that the layer gave.

    The layer keeps only V after reset, from which H of a neuron that fired can't be had.
    """
    multi = module.step_mode == "m"
    spikes = first_samples(first_tensor(output).detach(), samples, multi_step=multi)
    charge = _charge(module)
    if charge is None:
        return Observation(spikes=spikes, membrane=None, released=None)
    x = first_samples(current.detach(), samples, multi_step=multi)
    v = before
    if isinstance(v, Tensor) and v.dim() > 0:
        v = first_samples(v.detach(), samples, multi_step=False)
    steps_x, steps_s = (x.unbind(0), spikes.unbind(0)) if multi else ((x,), (spikes,))
    membrane, released = [], []
    for x_t, s_t in zip(steps_x, steps_s, strict=True):
        h = charge(v, x_t)
        v = h - module.v_threshold * s_t if module.v_reset is None else _hard(h, s_t, module)
        membrane.append(h)
        released.append(v)
    if not multi:
        return Observation(spikes=spikes, membrane=membrane[0], released=released[0])
    return Observation(spikes, torch.stack(membrane), torch.stack(released))


def _hard(h: Tensor, s: Tensor, module: Any) -> Tensor:
    return torch.where(s > 0, torch.full_like(h, module.v_reset), h)


def _threshold(module: Any) -> float | Tensor:
    theta: float | Tensor = module.v_threshold
    return theta


_KIND = NeuronKind(
    framework="spikingjelly",
    multi_step=lambda m: bool(m.step_mode == "m"),  # type: ignore[comparison-overlap, unused-ignore]
    threshold=_threshold,
    snapshot=lambda m: m.v,
    observe=_observe,
    reset=lambda m: m.reset(),  # type: ignore[operator, unused-ignore]
    decay=_decay,
)

_SPIKING = (
    neuron.BaseNode,
    neuron.SimpleBaseNode,
    neuron.PSN,
    neuron.MaskedPSN,
    neuron.SlidingPSN,
)


def kind(module: nn.Module) -> NeuronKind | None:
    """How to talk to the module, None where it is no spiking neuron of SpikingJelly."""
    return _KIND if isinstance(module, _SPIKING) else None


def reset(module: nn.Module) -> bool:
    """Clear the module's memories (neurons, and recurrent containers too); False if it has none."""
    if isinstance(module, base.MemoryModule):
        module.reset()
        return True
    return False


def resize(module: nn.Module, kept: Callable[[str, int], Tensor | None]) -> dict[str, int]:
    """Sizes that the module keeps beside its weights, after a cut.

    `kept(name, axis)` gives the positions that stay along an axis of the module's parameter,
    None where nothing was cut there.
    """
    if isinstance(module, layer.LinearRecurrentContainer):
        columns = kept("rc.weight", 1)
        if columns is not None:
            # rc reads cat(x, y): the fed-back features y are its last columns.
            first_fed_back = module.rc.in_features - module.sub_module_out_features
            return {"sub_module_out_features": int((columns >= first_fed_back).sum())}
    return {}
