"""One published method, one file; all behind the one Pruner contract."""

from __future__ import annotations

from microglia.errors import ConfigError, nearest
from microglia.methods.activity import Activity
from microglia.methods.admm import ADMM
from microglia.methods.base import Pruner
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.deep_r import DeepR
from microglia.methods.grad_r import GradR
from microglia.methods.hard_concrete import HardConcrete
from microglia.methods.magnitude import Magnitude
from microglia.methods.random import Random
from microglia.methods.random_weights import RandomWeights
from microglia.methods.sca import SCA
from microglia.methods.soft_deep_r import SoftDeepR
from microglia.methods.stds import STDS
from microglia.methods.uniform_slim import UniformSlim
from microglia.methods.upr import UPR
from microglia.methods.weight_magnitude import WeightMagnitude
from microglia.methods.weights import WeightPruner

__all__ = [
    "ADMM",
    "METHODS",
    "SCA",
    "STDS",
    "UPR",
    "Activity",
    "Change",
    "ChannelPruner",
    "DeepR",
    "GradR",
    "HardConcrete",
    "Magnitude",
    "Pruner",
    "Random",
    "RandomWeights",
    "SoftDeepR",
    "UniformSlim",
    "WeightMagnitude",
    "WeightPruner",
    "method_named",
]

METHODS: dict[str, type[Pruner]] = {
    cls.name: cls
    for cls in (
        SCA,
        Random,
        UniformSlim,
        Activity,
        Magnitude,
        WeightMagnitude,
        RandomWeights,
        STDS,
        GradR,
        DeepR,
        SoftDeepR,
        ADMM,
        HardConcrete,
        UPR,
    )
}


def method_named(name: str) -> type[Pruner]:
    """The method of that name.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'.{nearest(name, list(METHODS))}")
    return METHODS[name]
