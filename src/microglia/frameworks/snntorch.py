"""snnTorch's neurons, with hidden states kept inside or passed by the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks.kinds import NeuronKind, Observation, first_samples, first_tensor
from microglia.frameworks.recurrent import RecurrentNetwork, RecurrentWeight, from_factors

_STATES = ("mem", "syn", "spk", "syn_exc", "syn_inh", "mem_exc")


def _observe(
    module: Any, current: Tensor, before: Any, output: Any, samples: int | None
) -> Observation:
    """With the default delayed reset the potential that snnTorch keeps is H itself."""
    spikes = first_samples(first_tensor(output).detach(), samples, multi_step=False)
    mem = output[-1] if isinstance(output, (tuple, list)) else module.mem
    h = first_samples(mem.detach(), samples, multi_step=False)
    if not getattr(module, "reset_delay", True):
        return Observation(spikes=spikes, membrane=None, released=h)
    return Observation(spikes=spikes, membrane=h, released=None)


def _reset(module: nn.Module) -> None:
    """Back to the state of a new layer, so that the next batch may have another shape."""
    for name in _STATES:
        state = getattr(module, name, None)
        if isinstance(state, Tensor):
            setattr(module, name, torch.zeros(0, device=state.device))
    vars(module).pop("reset", None)  # the last reset signal, which a new layer doesn't have


def _threshold(module: Any) -> float | Tensor:
    theta: float | Tensor = module.threshold
    return theta


def _decay(module: Any) -> float | None:
    if type(module) not in (snntorch.Leaky, snntorch.RLeaky):
        return None
    return float(torch.as_tensor(module.beta).detach().float().clamp(0, 1).mean())


_KIND = NeuronKind(
    framework="snntorch",
    multi_step=lambda m: False,
    threshold=_threshold,
    snapshot=lambda m: None,
    observe=_observe,
    reset=_reset,
    decay=_decay,
)


def kind(module: nn.Module) -> NeuronKind | None:
    """How to talk to the module, None where it is no spiking neuron of snnTorch."""
    return _KIND if isinstance(module, snntorch.SpikingNeuron) else None


def reset(module: nn.Module) -> bool:
    """Clear the module's states; False if it is none of snnTorch's neurons."""
    if isinstance(module, snntorch.SpikingNeuron):
        _reset(module)
        return True
    return False


def resize(module: nn.Module, kept: Callable[[str, int], Tensor | None]) -> dict[str, int]:
    """Sizes that the module keeps beside its weights, after a cut (RLeaky, RSynaptic)."""
    rows = kept("recurrent.weight", 0)
    if rows is None:
        return {}
    if getattr(module, "linear_features", None):
        return {"linear_features": int(rows.numel())}
    if getattr(module, "conv2d_channels", None):
        return {"conv2d_channels": int(rows.numel())}
    return {}


def recurrent(module: nn.Module, dt: float) -> RecurrentNetwork | None:
    """The network of an RLeaky or RSynaptic, None for any other module.

    snnTorch resets a step late by default. "zero" then loses what comes in at that step, which is a
    refractory time of one step. "subtract" takes θ from a potential that has decayed already: for
    RLeaky that is θ from V and a synapse of −θ from each neuron to itself, both included in W.

    Spikes are the same for RLeaky, but for potentials that meet θ exactly, where snnTorch's neurons
    don't fire yet, and without the delay ("subtract") for potentials above 2 θ. For RSynaptic the
    drive is what its synapses make of the input, u[t] = α u[t−1] + x[t]; the recurrent bias is the
    one they settle at; and "subtract" is approximate, by (1 − β) θ a spike.

    Raises:
        ConfigError: convolutional recurrence, no reset, inhibition, quantised states, graded
            spikes, or factors without a time constant.
    """
    if not isinstance(module, (snntorch.RLeaky, snntorch.RSynaptic)):
        return None
    layer: Any = module
    synaptic = isinstance(module, snntorch.RSynaptic)
    name = type(module).__name__
    reset = layer.reset_mechanism
    if reset not in ("zero", "subtract"):
        raise ConfigError(f"{name}: reset_mechanism 'zero' or 'subtract' expected, got {reset!r}")
    for setting in ("inhibition", "state_quant"):
        if getattr(layer, setting):
            raise ConfigError(f"{name}: {setting} can't be expressed, build the layer without it")
    if not (torch.as_tensor(layer.graded_spikes_factor) == 1).all():
        raise ConfigError(f"{name}: spikes of 1 expected, graded_spikes_factor is another")
    if synaptic and not layer.reset_delay:
        raise ConfigError("RSynaptic: wanted reset_delay=True, the only reset that it carries out")
    W, bias = _feedback(layer)
    N = len(W)
    threshold = _double(layer.threshold)
    late = layer.reset_delay
    if reset == "subtract" and late and not synaptic:
        beta = _double(layer.beta).clip(0, 1)
        W = W - np.diag(np.broadcast_to((1 - beta) * threshold, N))
    alpha = _double(layer.alpha).clip(0, 1) if synaptic else None
    return from_factors(
        beta=_double(layer.beta).clip(0, 1),
        alpha=alpha,
        weights=W,
        inputs=np.eye(N),
        bias=bias if alpha is None else bias / (1 - alpha),
        threshold=threshold,
        reset=reset,
        hold=1 if late and reset == "zero" else 0,
        dt=dt,
    )


def recurrent_weight(module: nn.Module) -> RecurrentWeight | None:
    """Where an RLeaky or RSynaptic with all-to-all feedback keeps its W, None for others."""
    if isinstance(module, (snntorch.RLeaky, snntorch.RSynaptic)) and isinstance(
        module.recurrent, nn.Linear
    ):
        return RecurrentWeight("recurrent.weight")
    return None


def _feedback(layer: Any) -> tuple[Any, Any]:
    """W [N, N] and its bias [N]."""
    back = layer.recurrent
    if isinstance(back, nn.Linear):
        W = _double(back.weight)
        return W, np.zeros(len(W)) if back.bias is None else _double(back.bias)
    if isinstance(back, nn.Conv2d):
        raise ConfigError(f"{type(layer).__name__}: wanted linear feedback, got a convolution")
    V = _double(layer.V)
    if V.ndim == 0:
        raise ConfigError(
            f"{type(layer).__name__}: one V for all neurons doesn't say how many there are; "
            "give V [N]"
        )
    return np.diag(V), np.zeros(len(V))


def _double(value: Any) -> Any:
    return torch.as_tensor(value).detach().double().cpu().numpy()
