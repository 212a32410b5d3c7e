"""What a batch must be: inputs, and one label a sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from microglia.errors import TrainingError


def as_pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The inputs and labels of a batch.

    Raises:
        TrainingError: it is no pair of tensors.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        inputs, labels = batch
        if isinstance(inputs, Tensor) and isinstance(labels, Tensor):
            return inputs, labels
    raise TrainingError(
        f"batches: wanted pairs of tensors, (inputs, labels [N]), got {_in_words(batch)}. One "
        "batch alone is a list too: [(inputs, labels)]."
    )


def refuse_inputs_without_numbers(inputs: Tensor, *, step: int) -> None:
    """Raises TrainingError where inputs are NaN or infinite: no setting of training helps."""
    if not inputs.is_floating_point() or bool(torch.isfinite(inputs).all()):
        return
    count = int((~torch.isfinite(inputs)).sum())
    raise TrainingError(
        f"{count} of the {inputs.numel()} inputs of the batch at optimizer step {step} are NaN or "
        "infinite. Look at the data: gaps, divisions by a standard deviation of 0, an encoder."
    )


def refuse_labels_outside(logits: Tensor, labels: Tensor) -> None:
    """Raises TrainingError where labels aren't one class of the logits [N, classes] a sample."""
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1]:
        raise TrainingError(
            f"Labels must have shape {tuple(logits.shape[:1])}, one class a sample; "
            f"they have {tuple(labels.shape)}."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TrainingError(
            f"Labels must be classes, whole numbers from 0; they are {labels.dtype}. If they hold "
            "classes, give labels.long()."
        )
    low, high = (int(label) for label in labels.aminmax())
    if low < 0 or high >= classes:
        raise TrainingError(
            f"The network has {classes} outputs, but the labels run from {low} to "
            f"{high}. Build the network with as many outputs as there are classes."
        )


def _in_words(batch: Any) -> str:
    """Such as "a tuple of (Tensor, int)"."""
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of ({', '.join(type(x).__name__ for x in batch)})"
    return f"a {type(batch).__name__}"
