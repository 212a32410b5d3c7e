"""What a classifier says, whatever form its output has."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from microglia.errors import TrainingError


def average_over_time(output: Any) -> Tensor:
    """Logits [N, classes] from what a network returned; [T, N, classes] is averaged over T."""
    logits = output[0] if isinstance(output, tuple) else output
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TrainingError(
            f"The network must return logits [N, classes] or [T, N, classes]; it returned {came}."
        )
    return logits.mean(0) if logits.ndim == 3 else logits
