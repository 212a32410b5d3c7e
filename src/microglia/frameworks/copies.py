"""Copies of a network that leave the original alone."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

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
