"""What a pruned network is worth beside its dense one: bytes in memory and on disk, and time."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from microglia.experiment.clocked import CSR, Clock
from microglia.experiment.trial import Trial
from microglia.metrics import measure_size
from microglia.runtime import csr_savings


def worth_of(trial: Trial, dense: nn.Module, clocks: Mapping[str, Clock]) -> dict[str, float]:
    """Figures to stand beside a compact network's own `bytes`; times are fractions of the dense
    network's, clocked in the same rounds.

        bytes_dense        of the dense network's parameters and buffers, in memory
        bytes_file         of the compact network's files; none for the dense one
        latency_ratio      of the compact network
        bytes_csr          where weights were pruned: of the compact network, its layers of few
                           weights as CSR matrices, as they would be stored
        csr_latency_ratio  of that network, where it was clocked

    Args:
        clocks: of "dense", of "this", and perhaps of "csr".
    """

    def ratio(name: str) -> float:
        return 1 / clocks[name].latency.speedup_over(clocks["dense"].latency)[0]

    worth: dict[str, float] = {
        "bytes_dense": measure_size(dense).bytes,
        "latency_ratio": ratio("this"),
    }
    if trial.file is not None:
        worth["bytes_file"] = sum(file.stat().st_size for file in trial.file.iterdir())
    if trial.prunes_weights:
        worth["bytes_csr"] = measure_size(trial.model).bytes - csr_savings(trial.model)
    if CSR in clocks:
        worth["csr_latency_ratio"] = ratio(CSR)
    return worth
