"""How an accelerated network is held against the original."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from microglia.frameworks import fresh_copy, spiking_neurons

Spikes = dict[str, list[Tensor]]


def in_float64(model: nn.Module) -> nn.Module:
    """The network cast, also snnTorch's, whose surrogates give float32 spikes at any precision."""
    layers = [m for m in model.modules() if next(m.children(), None) is None]
    if any(type(m).__module__.startswith("snntorch") for m in model.modules()):
        for module in layers[1:]:  # the first gets the image
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.register_forward_pre_hook(_to_float64)
    return model.double()


def _to_float64(module: nn.Module, args: Any) -> Any:
    return tree_map(lambda x: x.double() if isinstance(x, Tensor) else x, args)


def reference(model: nn.Module) -> nn.Module:
    """What `accelerate` must equal: a copy of the network in evaluation mode."""
    return fresh_copy(model).eval()


def outputs(model: nn.Module, x: Any) -> list[Tensor]:
    """The tensors that a forward pass returns."""
    with torch.no_grad():
        return [y.clone() for y in tree_leaves(model(x)) if isinstance(y, Tensor)]


def spikes(model: nn.Module, x: Any) -> Spikes:
    """The spikes of every neuron layer in a forward pass, call by call."""
    seen: Spikes = defaultdict(list)
    with ExitStack() as stack:
        for name, module in spiking_neurons(model).items():

            def record(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                tensor = output if isinstance(output, Tensor) else output[0]
                seen[name].append(tensor.clone())

            stack.callback(module.register_forward_hook(record).remove)
        outputs(model, x)
    return dict(seen)


def flips(a: Spikes, b: Spikes) -> tuple[int, int]:
    """How many spikes differ, of how many."""
    assert a.keys() == b.keys()
    pairs = [(s, t) for name in a for s, t in zip(a[name], b[name], strict=True)]
    return sum(int((s != t).sum()) for s, t in pairs), sum(s.numel() for s, _ in pairs)


def norms(model: nn.Module) -> int:
    """Norms that are left."""
    return sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
