"""Training: the loss, the loop, and the callback that puts a Pruner into a Lightning run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from microglia.training.checkpoint import has_checkpoint
from microglia.training.config import TrainingConfig
from microglia.training.device import resolve_device
from microglia.training.distillation import Distillation
from microglia.training.fit import train
from microglia.training.history import ChangeRecord, EpochRecord, History
from microglia.training.manners import lightning
from microglia.training.optimiser import build_optimizer
from microglia.training.pair_stdp import PairSTDPConfig, recurrent_pairs, train_pair_stdp
from microglia.training.stdp import STDPConfig, stdp_features, train_stdp

if TYPE_CHECKING:
    from microglia.training.callback import PrunerCallback
    from microglia.training.module import TrainingModule

__all__ = [
    "ChangeRecord",
    "Distillation",
    "EpochRecord",
    "History",
    "PairSTDPConfig",
    "PrunerCallback",
    "STDPConfig",
    "TrainingConfig",
    "TrainingModule",
    "build_optimizer",
    "has_checkpoint",
    "recurrent_pairs",
    "resolve_device",
    "stdp_features",
    "train",
    "train_pair_stdp",
    "train_stdp",
]


def __getattr__(name: str) -> Any:
    """The two classes that need Lightning, imported when first asked for."""
    if name == "PrunerCallback":
        with lightning():
            from microglia.training.callback import PrunerCallback

        return PrunerCallback
    if name == "TrainingModule":
        with lightning():
            from microglia.training.module import TrainingModule

        return TrainingModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
