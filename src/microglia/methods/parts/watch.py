"""How a part watches the neurons of a network while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from microglia.frameworks import Hook, Observation, first_tensor, neuron_kind


class Listener(Protocol):
    """Something that sees what a network does."""

    always: bool
    """Calls in eval mode count too."""


Self = TypeVar("Self", bound="Watch")


class Watch(ABC):
    """Sees every call of one neuron layer that counts: in training mode, or `always`.

    Args:
        samples: of each batch that it looks at; None for all.
    """

    def __init__(self, listener: Listener, samples: int | None = None) -> None:
        self.listener: Listener | None = listener
        self.samples = samples
        self.before: Any = None

    @abstractmethod
    def add(self, seen: Observation, *, multi_step: bool) -> None:
        """One call of the layer; tensors are `[T, N, ...]` of a multi-step one, else `[N, ...]`."""

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        # A copy of the network must not add to what is known of the original.
        copy = type(self).__new__(type(self))
        memo[id(self)] = copy
        copy.listener = None
        return copy

    def on(self, module: nn.Module) -> bool:
        """Whether a call counts."""
        return self.listener is not None and (module.training or self.listener.always)

    def attach(self, module: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Watch this neuron layer; remove the handles to stop."""
        return [
            module.register_forward_pre_hook(_Before(self)),
            module.register_forward_hook(_After(self)),
        ]


class _Before(Hook):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any) -> None:
        if self.watch.on(module):
            kind = neuron_kind(module)
            assert kind is not None
            self.watch.before = kind.snapshot(module)


class _After(Hook):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        watch = self.watch
        if watch.on(module):
            kind = neuron_kind(module)
            assert kind is not None
            with torch.no_grad():
                seen = kind.observe(module, first_tensor(args), watch.before, output, watch.samples)
                watch.add(seen, multi_step=kind.multi_step(module))
            watch.before = None
