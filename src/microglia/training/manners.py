"""Lightning without its advertisements, and one clear message where it is missing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from microglia.errors import TrainingError

_NO_NEWS = (
    # Lightning brings torchmetrics, which brings scienceplots, which calls a Matplotlib of old.
    r"The \w+ function was deprecated in Matplotlib",
    # Lightning 2.6 still names a class that PyTorch 2.9 renamed.
    ".*isinstance.treespec, LeafSpec.*",
    # Batches come from memory, ready made: worker processes would only copy them.
    ".*does not have many workers.*",
    # Training without a validation set is a choice.
    ".*defined a .validation_step. but have no .val_dataloader.*",
    # A run directory holds other files beside the checkpoint, and is meant to.
    ".*Checkpoint directory .* exists and is not.*",
    # `training.device` says cpu where the user wants no GPU.
    ".*GPU available but not used.*",
    # Under a gradient scaler the first optimizer step may be skipped by design.
    ".*lr_scheduler.step.. before .optimizer.step.*",
)


@contextmanager
def lightning() -> Iterator[None]:
    """Import or run Lightning inside: only what a person must know reaches the terminal.

    Raises:
        TrainingError: Lightning, or a package that it needs, is not installed.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _NO_NEWS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        except ModuleNotFoundError as error:
            raise TrainingError(
                f"Training needs '{error.name}', which is not installed. "
                f"Run: pip install 'microglia[train]'"
            ) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
