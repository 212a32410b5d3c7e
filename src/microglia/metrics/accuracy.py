"""How often the network is right."""

from __future__ import annotations

from torch import Tensor, nn

from microglia.metrics.forward import Batches, Forward, call, evaluating, plain, run


def correct(logits: Tensor, labels: Tensor) -> int:
    """How many of the logits [N, classes] have their largest value at the label [N]."""
    return int((logits.argmax(1) == labels).sum())


def measure_accuracy(model: nn.Module, batches: Batches, *, forward: Forward = call) -> float:
    """Fraction of samples classified rightly, in evaluation mode, neurons reset before each batch.

    Raises:
        DataError: no batches, an empty batch, or outputs of another shape than [N, classes].
        TrainingError: the outputs are NaN or infinite.
    """
    model = plain(model)
    right = samples = 0
    with evaluating(model):
        for logits, labels in run(model, batches, forward):
            right += correct(logits, labels)
            samples += len(labels)
    return right / samples
