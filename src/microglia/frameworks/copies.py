"""Copies of a network that leave the original alone."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

from microglia.errors import ConfigError

GATE = "channel_gate"
"""Name of the buffer that a gate keeps on the layer that computes its channels."""


WEIGHT_GATE = "_gate"
"""What a mask of weights adds to the name of the weight for its own, a buffer beside it."""


class Hook:
    """Base of every hook that microglia leaves in a network, so that copies can do without."""


Network = TypeVar("Network", bound=nn.Module)


def fresh_copy(model: Network) -> Network:
    """A deep copy, also of a network whose neurons still hold states of a graph.

    `copy.deepcopy` refuses tensors that autograd has computed; those are copied detached.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            _detach_into(memo, value)
    return copy.deepcopy(model, memo)


def _detach_into(memo: dict[int, Any], value: Any) -> None:
    if isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, dict):
        for item in value.values():
            _detach_into(memo, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _detach_into(memo, item)


def bare_copy(model: Network) -> Network:
    """A fresh copy without microglia's gates, hooks and scanned neurons: the user's own network.

    Masks of neurons are part of what a network computes, and stay.
    """
    copied = fresh_copy(model)
    for module in copied.modules():
        plain = getattr(type(module), "scans", None)  # see `runtime.accelerated_training`
        if plain is not None:
            module.__class__ = plain
            vars(module).pop("overwrites_current", None)
        for name in list(module._buffers):
            if name == GATE or _masks_weight(module, name):
                del module._buffers[name]
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [k for k, hook in hooks.items() if isinstance(hook, Hook)]:
                del hooks[key]
    return copied


def refuse_masked(model: nn.Module) -> None:
    """Raises ConfigError where a pruner's gates or masks are in the network already."""
    for path, module in model.named_modules():
        for name in module._buffers:
            if name == GATE or _masks_weight(module, name):
                raise ConfigError(
                    f"{path}: the network already has a pruner's masks; detach() that one first"
                )


def _masks_weight(module: nn.Module, buffer: str) -> bool:
    """Whether a buffer is the mask of a weight of this module."""
    return buffer.endswith(WEIGHT_GATE) and buffer[: -len(WEIGHT_GATE)] in module._parameters
