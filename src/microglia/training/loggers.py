"""Lightning's loggers by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from microglia.errors import TrainingError
from microglia.training.config import TrainingConfig
from microglia.training.history import EpochRecord

PROJECT = "microglia"
# Read once: MLflow writes the latest server it was told into this variable.
_SERVER = os.environ.get("MLFLOW_TRACKING_URI")


def build_loggers(
    config: TrainingConfig, run_dir: Path | None, *, title: str, labels: Mapping[str, str | int]
) -> list[Logger]:
    """The config's `loggers`, for one training.

    `csv` and `tensorboard` write into folders of these names in `run_dir`, which are emptied first.
    `mlflow` and `wandb` begin a run called `title` in the project "microglia", at the server that
    their own environment variables name; without one MLflow keeps `mlflow.db` in `run_dir`, and W&B
    asks, or with WANDB_MODE=offline keeps a folder `wandb` there.

    Raises:
        TrainingError: a package is not installed, or a folder is wanted and none was given.
    """
    if not config.loggers:
        return []
    if run_dir is None:
        raise TrainingError("training.loggers: they write into run_dir, and none was given.")
    found = [_logger(name, run_dir, title=title) for name in config.loggers]
    for logger in found:
        logger.log_hyperparams({**labels, **asdict(config)})
    return found


def log_epoch(loggers: Iterable[Logger], record: EpochRecord) -> None:
    """One epoch's numbers, at its last optimizer step; channels left as `kept/<group>`."""
    numbers: dict[str, Any] = asdict(record)
    kept = numbers.pop("kept") or {}
    step = numbers.pop("step")
    numbers |= {f"kept/{group}": count for group, count in kept.items()}
    numbers = {name: float(x) for name, x in numbers.items() if x is not None}
    for logger in loggers:
        logger.log_metrics(numbers, step=step)
        logger.save()


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """End the runs of W&B, which would take the next training for the same run."""
    try:
        yield
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()


def _logger(name: str, run_dir: Path, *, title: str) -> Logger:
    if name != "csv" and find_spec(name) is None:
        raise TrainingError(f"training.loggers: '{name}' is not installed. Run: pip install {name}")
    if name in ("csv", "tensorboard"):
        with suppress(FileNotFoundError):
            shutil.rmtree(run_dir / name)
    if name == "csv":
        return CSVLogger(run_dir, name="", version=name)
    if name == "tensorboard":
        return TensorBoardLogger(run_dir, name="", version=name)
    if name == "mlflow":
        own = f"sqlite:///{(run_dir / 'mlflow.db').resolve()}"
        return MLFlowLogger(PROJECT, run_name=title, tracking_uri=_SERVER or own)
    return WandbLogger(name=title, save_dir=run_dir, project=PROJECT, reinit=True)
