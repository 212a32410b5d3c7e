"""Experiments: each from one config."""

from microglia.experiment.config import (
    DataConfig,
    NetworkConfig,
    OutputConfig,
    PruningConfig,
    RunConfig,
)
from microglia.experiment.run import Run, prune, train
from microglia.experiment.sensitivity import Sensitivity, layer_sensitivity

__all__ = [
    "DataConfig",
    "NetworkConfig",
    "OutputConfig",
    "PruningConfig",
    "Run",
    "RunConfig",
    "Sensitivity",
    "layer_sensitivity",
    "prune",
    "train",
]
