"""microglia makes spiking neural networks smaller.

import microglia as mg

pruner = mg.SCA(model, sparsity=0.7, example_input=x, optimizer=optimizer, every=steps)
"""

from pathlib import Path as _Path
from typing import Any as _Any

from torch import nn as _nn

from microglia.errors import (
    CertificateError,
    ConfigError,
    DataError,
    MicrogliaError,
    StructureError,
    TrainingError,
)
from microglia.frameworks import register_neuron, reset
from microglia.lyapunov import LNPConfig, lyapunov_spectrum, prune_recurrent
from microglia.methods import (
    ADMM,
    DPAP,
    ESL,
    LAMP,
    LNP,
    METHODS,
    NDSNN,
    PCA,
    SBC,
    SCA,
    SDSNN,
    STDS,
    UPR,
    Activity,
    DeepR,
    GradR,
    HardConcrete,
    LotteryTicket,
    Magnitude,
    Pruner,
    Random,
    RandomWeights,
    Slimming,
    SoftDeepR,
    SparseRandom,
    SpikeThrift,
    UniformSlim,
    WeightMagnitude,
)
from microglia.surgery import analyse, certify, regrow, save
from microglia.surgery import load as _load

__version__ = "0.1.0"

__all__ = [
    "ADMM",
    "DPAP",
    "ESL",
    "LAMP",
    "LNP",
    "METHODS",
    "NDSNN",
    "PCA",
    "SBC",
    "SCA",
    "SDSNN",
    "STDS",
    "UPR",
    "Activity",
    "CertificateError",
    "ConfigError",
    "DataError",
    "DeepR",
    "GradR",
    "HardConcrete",
    "LNPConfig",
    "LotteryTicket",
    "Magnitude",
    "MicrogliaError",
    "Pruner",
    "Random",
    "RandomWeights",
    "Slimming",
    "SoftDeepR",
    "SparseRandom",
    "SpikeThrift",
    "StructureError",
    "TrainingError",
    "UniformSlim",
    "WeightMagnitude",
    "analyse",
    "certify",
    "load",
    "lyapunov_spectrum",
    "prune_recurrent",
    "register_neuron",
    "regrow",
    "reset",
    "save",
]


def load(path: str | _Path, model: _nn.Module | None = None) -> _Any:
    """The compacted network that `save` wrote to the directory `path`, in eval mode.

    Args:
        model: an unpruned network of the same class, which is copied; not needed for the
            networks that this package builds.

    Raises:
        DataError: a file is missing, damaged, or of another format.
        ConfigError: the network in the file is not the one that was passed, or none was.
    """

    def build(name: str, arguments: dict[str, _Any]) -> _nn.Module:
        from microglia.networks import build as build_network  # these need SpikingJelly

        return build_network(name, **arguments)

    return _load(path, model, build=build)
