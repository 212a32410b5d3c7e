"""Experiments: each from one config."""

from microglia.experiment.config import (
    DataConfig,
    NetworkConfig,
    OutputConfig,
    PruningConfig,
    RunConfig,
)
from microglia.experiment.run import Run, prune

__all__ = [
    "DataConfig",
    "NetworkConfig",
    "OutputConfig",
    "PruningConfig",
    "Run",
    "RunConfig",
    "prune",
]
