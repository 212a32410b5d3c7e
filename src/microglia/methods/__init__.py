"""One published method, one file; all behind the one Pruner contract."""

from __future__ import annotations

from microglia.errors import ConfigError, nearest
from microglia.methods.activity import Activity
from microglia.methods.admm import ADMM
from microglia.methods.base import Pruner
from microglia.methods.change import Change
from microglia.methods.channels import ChannelPruner
from microglia.methods.deep_r import DeepR
from microglia.methods.dpap import DPAP
from microglia.methods.esl import ESL
from microglia.methods.grad_r import GradR
from microglia.methods.hard_concrete import HardConcrete
from microglia.methods.lamp import LAMP
from microglia.methods.lnp import LNP
from microglia.methods.lottery_ticket import LotteryTicket
from microglia.methods.magnitude import Magnitude
from microglia.methods.ndsnn import NDSNN
from microglia.methods.pca import PCA
from microglia.methods.random import Random
from microglia.methods.random_weights import RandomWeights
from microglia.methods.sbc import SBC
from microglia.methods.sca import SCA
from microglia.methods.sd_snn import SDSNN
from microglia.methods.slimming import Slimming
from microglia.methods.soft_deep_r import SoftDeepR
from microglia.methods.sparse_random import SparseRandom
from microglia.methods.spike_thrift import SpikeThrift
from microglia.methods.stds import STDS
from microglia.methods.uniform_slim import UniformSlim
from microglia.methods.upr import UPR
from microglia.methods.weight_magnitude import WeightMagnitude
from microglia.methods.weights import WeightPruner

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
    "Change",
    "ChannelPruner",
    "DeepR",
    "GradR",
    "HardConcrete",
    "LotteryTicket",
    "Magnitude",
    "Pruner",
    "Random",
    "RandomWeights",
    "Slimming",
    "SoftDeepR",
    "SparseRandom",
    "SpikeThrift",
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
        SparseRandom,
        STDS,
        Slimming,
        PCA,
        SDSNN,
        DPAP,
        SBC,
        ESL,
        NDSNN,
        SpikeThrift,
        LotteryTicket,
        LAMP,
        GradR,
        DeepR,
        SoftDeepR,
        ADMM,
        HardConcrete,
        UPR,
        LNP,
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
