"""How a measurement runs the network, and what it expects of batches and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from microglia.errors import DataError, TrainingError, memory_for
from microglia.frameworks import reset
from microglia.metrics.state import untouched

Forward: TypeAlias = Callable[[nn.Module, Any], Tensor]
"""`forward(model, inputs) -> logits [N, classes]`, for networks that aren't simply called.

A single-step network that its user calls T times, say:
`lambda model, x: torch.stack([model(x) for _ in range(T)]).mean(0)`.
"""

Batches: TypeAlias = Iterable[tuple[Any, Tensor]]
"""(inputs, labels [N]) pairs, such as a DataLoader gives."""

INPUT_SAMPLES = "the samples of the example input (output.latency_batch) or network.T"


def call(model: nn.Module, inputs: Any) -> Tensor:
    """The plain forward pass, `model(inputs)`."""
    logits: Tensor = model(inputs)
    return logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no compiled graphs (they skip hooks); then all as before."""
    with untouched(model), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model.eval()
        yield


def run(model: nn.Module, batches: Batches, forward: Forward) -> Iterator[tuple[Tensor, Tensor]]:
    """(logits [N, classes], labels [N]) batch by batch, the neurons reset before each.

    Raises:
        DataError: no batches, an empty batch, or logits or labels of another shape.
        TrainingError: logits that are NaN or infinite; memory ran out.
    """
    device, index = device_of(model), -1
    for index, (inputs, labels) in enumerate(batches):
        _check_labels(labels, inputs, index)
        reset(model)
        with memory_for(f"measuring batch {index}", lower="data.batch_size or network.T"):
            logits = forward(model, to_device(inputs, device))
        _check_logits(logits, len(labels), index)
        yield logits, labels.to(device)
    if index < 0:
        raise DataError("no batches: there is nothing to measure; is the loader empty?")


def peeked(batches: Batches) -> tuple[Any, Batches]:
    """The inputs of the first batch, None where there is none, and all batches again."""
    stream = iter(batches)
    first = next(stream, None)
    return (None, stream) if first is None else (first[0], chain([first], stream))


def plain(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile`, DataParallel and DistributedDataParallel wrappers."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(original := getattr(model, "_orig_mod", None), nn.Module):
            model = original
        else:
            return model


def device_of(model: nn.Module) -> torch.device:
    """Where the network's first parameter or buffer lives; the CPU if it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def to_device(inputs: Any, device: torch.device) -> Any:
    """The inputs on the device; what is no tensor is left to the user's own `forward`."""
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs


def _check_labels(labels: Any, inputs: Any, batch: int) -> None:
    if not isinstance(labels, Tensor) or labels.dim() != 1:
        raise DataError(
            f"batch {batch}: wanted labels of shape [N], one class index a sample, "
            f"got {_describe(labels)}"
        )
    if len(labels) == 0:
        raise DataError(f"batch {batch} is empty; drop empty batches from the loader")
    if isinstance(inputs, Tensor) and len(labels) not in inputs.shape[:2]:  # [N, ...], [T, N, ...]
        raise DataError(
            f"batch {batch}: wanted as many labels as samples, got {len(labels)} labels with "
            f"inputs of shape {_describe(inputs)}"
        )


def _check_logits(logits: Any, samples: int, batch: int) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != samples:
        raise DataError(
            f"batch {batch}: wanted logits of shape [N={samples}, classes], the network gave "
            f"{_describe(logits)}; pass forward=, e.g. "
            "forward=lambda model, x: model(x).mean(0) to average over time"
        )
    bad = int((~torch.isfinite(logits)).sum())
    if bad:
        raise TrainingError(
            f"batch {batch}: {bad} of {logits.numel()} logits are NaN or infinite; the network "
            "can't be measured (look for a diverged training or a damaged checkpoint)"
        )


def _describe(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
