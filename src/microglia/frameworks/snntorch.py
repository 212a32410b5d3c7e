"""snnTorch's neurons, with hidden states kept inside or passed by the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

from microglia.frameworks.kinds import NeuronKind, Observation, first_samples, first_tensor

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
