"""How much memory a forward pass takes beyond the weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microglia.errors import memory_for
from microglia.frameworks import reset
from microglia.metrics.forward import (
    INPUT_SAMPLES,
    Forward,
    call,
    device_of,
    evaluating,
    plain,
    to_device,
)


def measure_peak_memory(model: nn.Module, x: Any, *, forward: Forward = call) -> int:
    """Largest number of bytes that one forward pass holds at a time, without weights and input.

    Activations and neuron states, in evaluation mode without gradients. On CUDA: the
    allocator's peak over what was allocated before. Elsewhere: live tensors between operations;
    scratch memory inside an operation (a convolution's workspace) can't be seen there.

    Raises TrainingError where memory runs out.
    """
    model = plain(model)
    device = device_of(model)
    with evaluating(model), memory_for("measuring peak memory", lower=INPUT_SAMPLES):
        x = to_device(x, device)
        reset(model)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before: int = torch.cuda.memory_allocated(device)
            forward(model, x)
            torch.cuda.synchronize(device)
            peak: int = torch.cuda.max_memory_allocated(device)
            return peak - before
        with _LiveTensors() as live:
            forward(model, x)
        return int(live.peak)


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]  # untyped in torch
    """Follows the storages that operations create until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]  # untyped in torch
        self.peak = 0
        self._bytes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        # A view shares its input's storage; only a storage that no input has is a new one.
        known = {id(storage) for storage in _storages((args, kwargs))}
        output = func(*args, **kwargs)
        for storage in _storages(output):
            key = id(storage)
            if key not in known and key not in self._bytes:
                self._bytes[key] = storage.nbytes()
                weakref.finalize(storage, self._bytes.pop, key)
        self.peak = max(self.peak, sum(self._bytes.values()))
        return output


def _storages(values: Any) -> list[torch.UntypedStorage]:
    # A sparse tensor has no storage of its own: its plain parts were followed as they were made.
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout == torch.strided]
