"""Leaving a network as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back everything that a forward pass may change: afterwards nothing shows that it ran.

    Kept are the attributes of every module (train/eval flags, neuron states, hooks, buffers),
    the contents of the tensors, dicts, lists and tuples among them one level deep, and torch's
    random numbers. Parameters are left out: a forward pass under `no_grad` doesn't write them.
    """
    saved = [_Attributes(module) for module in model.modules()]
    with torch.random.fork_rng(devices=_cuda_devices(model)):
        try:
            yield
        finally:
            for attributes in saved:
                attributes.restore()


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


class _Attributes:
    """One module's attributes, and what stands in them, at the moment of construction."""

    def __init__(self, module: nn.Module) -> None:
        self._live = vars(module)
        self._values: dict[str, Any] = dict(self._live)
        self._containers: list[tuple[dict[Any, Any] | list[Any], Any]] = []
        self._tensors: list[tuple[Tensor, Tensor]] = []
        for value in self._values.values():
            self._keep(value)

    def _keep(self, value: Any) -> None:
        items: tuple[Any, ...] = (value,)
        if isinstance(value, dict):
            self._containers.append((value, dict(value)))
            items = tuple(value.values())
        elif isinstance(value, list):
            self._containers.append((value, list(value)))
            items = tuple(value)
        elif isinstance(value, tuple):
            items = value
        for item in items:
            if isinstance(item, Tensor) and not isinstance(item, nn.Parameter):
                self._tensors.append((item, item.detach().clone()))

    def restore(self) -> None:
        # Only what differs is written: a state may still belong to somebody's autograd graph.
        if not _same_items(self._live, self._values):
            self._live.clear()
            self._live.update(self._values)
        for container, copy in self._containers:
            if isinstance(container, dict):
                if not _same_items(container, copy):
                    container.clear()
                    container.update(copy)
            elif not _same_members(container, copy):
                container[:] = copy
        with torch.no_grad():
            for tensor, contents in self._tensors:
                if not torch.equal(tensor, contents):
                    tensor.copy_(contents)


def _same_items(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    return list(a) == list(b) and _same_members(list(a.values()), list(b.values()))


def _same_members(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
