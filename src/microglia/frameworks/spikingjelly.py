"""SpikingJelly's neurons, single- and multi-step, and its recurrent containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import base, layer, neuron
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks.kinds import NeuronKind, Observation, first_samples, first_tensor
from microglia.frameworks.recurrent import RecurrentNetwork, RecurrentWeight, from_factors

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


def recurrent(module: nn.Module, dt: float) -> RecurrentNetwork | None:
    """The network of a recurrent container around a LIF layer, None for any other module.

    Inside may stand the neurons alone, or a linear layer before them. Potentials are counted from
    v_reset, where LIF neurons rest. Spikes are the same. A container of elements is asked for its
    size, hence called once before; its function must be linear.

    Raises:
        ConfigError: other layers inside, neurons without a leak, a function that isn't linear, a
            container of elements that wasn't called yet.
    """
    if isinstance(module, layer.LinearRecurrentContainer):
        joint = _double(module.rc.weight)
        K = module.rc.in_features - module.sub_module_out_features
        into, back = joint[:, :K], joint[:, K:]
        N = module.sub_module_out_features
        bias = np.zeros(len(joint)) if module.rc.bias is None else _double(module.rc.bias)
    elif isinstance(module, layer.ElementWiseRecurrentContainer):
        if not isinstance(module.y, Tensor) or module.y.dim() == 0:
            raise ConfigError(
                "ElementWiseRecurrentContainer: its size is that of its input; call it once first"
            )
        N = module.y.shape[-1]
        back, into, bias = _affine(module.element_wise_function, N)
    else:
        return None
    before, offset, lif = _inside(module)
    into, back, bias = before @ into, before @ back, before @ bias + offset
    if len(bias) != N:
        raise ConfigError(
            f"{type(module).__name__}: wanted {N} neurons, as many as come back, got {len(bias)}"
        )
    beta = _decay(lif)
    if beta is None or beta == 1:
        raise ConfigError(
            f"{type(module).__name__}: LIF or parametric LIF neurons expected, whose potential "
            f"leaks, got {type(lif).__name__}"
        )
    rest = 0.0 if lif.v_reset is None else lif.v_reset
    return from_factors(
        beta=beta,
        weights=back,
        inputs=into,
        bias=bias,
        threshold=lif.v_threshold - rest,
        reset="subtract" if lif.v_reset is None else "zero",
        rate=lif.decay_input,
        dt=dt,
    )


def recurrent_weight(module: nn.Module) -> RecurrentWeight | None:
    """Where a linear container around neurons alone keeps its W, None for any other module."""
    if not isinstance(module, layer.LinearRecurrentContainer):
        return None
    inside = module.sub_module
    parts = list(inside) if isinstance(inside, nn.Sequential) else [inside]
    if len(parts) != 1:
        return None
    return RecurrentWeight("rc.weight", module.rc.in_features - module.sub_module_out_features)


def _inside(container: Any) -> tuple[Any, Any, Any]:
    """A, c and the neurons, where what stands in the container is neurons(A i + c)."""
    inside = container.sub_module
    parts = list(inside) if isinstance(inside, nn.Sequential) else [inside]
    if isinstance(parts[0], nn.Linear) and len(parts) == 2:
        linear, lif = parts
        A = _double(linear.weight)
        return A, np.zeros(len(A)) if linear.bias is None else _double(linear.bias), lif
    if len(parts) != 1:
        raise ConfigError(
            f"{type(container).__name__}: neurons, or a linear layer and neurons expected inside, "
            f"got {[type(part).__name__ for part in parts]}"
        )
    if isinstance(container, layer.LinearRecurrentContainer):
        N = container.rc.out_features
    else:
        N = container.y.shape[-1]
    return np.eye(N), np.zeros(N), parts[0]


def _affine(f: Callable[[Tensor, Tensor], Tensor], N: int) -> tuple[Any, Any, Any]:
    """diag(a), diag(b) and c of f(y, x) = a y + b x + c."""
    zero, one = torch.zeros(N, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
    c = f(zero, zero)
    a, b = f(one, zero) - c, f(zero, one) - c
    x = torch.linspace(-3, 5, N, dtype=torch.float64)
    for y in (zero, one):
        if not torch.allclose(f(y, x), a * y + b * x + c):
            raise ConfigError(
                "ElementWiseRecurrentContainer: its function must be linear in the input and what "
                "comes back"
            )
    return (torch.diag(a).numpy(), torch.diag(b).numpy(), (c + zero).numpy())


def _double(value: Any) -> Any:
    return value.detach().double().cpu().numpy()
