"""What jobs on recurrent networks share: how they are called, and what each of their lines says."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from microglia.errors import MicrogliaError
from microglia.experiment.job import Record
from microglia.experiment.provenance import provenance
from microglia.experiment.recurrent.sparse_networks import inhibitory_share
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import Calibrated

LATER_KEYS = frozenset({"tried"})
"""Of records that were written after the first ones."""
OTHER_NOISE = 1000  # added to the seed: a gain isn't chosen on the noise that is reported


def tried_of(calibrated: Calibrated) -> dict[str, float]:
    """Part of the dense network's Σ|w| -> memory capacity, of a record."""
    return {f"{part:.4g}": round(metric, 4) for part, metric in calibrated.tried.items()}


class RecurrentJob(ABC):
    """One recurrent network, made sparse by some rule and put to work.

    `experiment` is the setting that networks are compared in, `label` what is compared, `seed` that
    of all that is random.
    """

    experiment: str
    label: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.label}-seed{self.seed}"

    @property
    def builds_on(self) -> list[str]:
        return []

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What makes another config another experiment."""

    def differs_from(self, record: Record, *, where: str) -> list[str]:
        """In what settings its config is not that of a record."""
        mine, theirs = self.config(), record["config"]
        return sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))

    def record(self, kind: str, *, began: float, **found: Any) -> Record:
        """The line: what every kind's has, and what was found; `began` in process seconds."""
        return {
            "kind": kind,
            "name": self.name,
            "experiment": self.experiment,
            "label": self.label,
            "seed": self.seed,
            **provenance(torch.device("cpu")),
            "config": self.config(),
            **found,
            "seconds": round(time.process_time() - began, 1),
        }


def rounded(task: str, figures: Mapping[str, float]) -> dict[str, float]:
    """To six digits.

    Raises:
        MicrogliaError: a figure is no number.
    """
    if not np.isfinite(list(figures.values())).all():
        raise MicrogliaError(f"{task}: a figure is no number: {figures}")
    return {name: float(f"{value:.6g}") for name, value in figures.items()}


def size_of(sparse: RecurrentNetwork, dense: RecurrentNetwork) -> dict[str, Any]:
    """Neurons and synapses, and the parts of the dense network's that they are; of both, those that
    inhibit, or None where there are none or types aren't told."""
    inhibitory = sparse.inhibitory
    told = inhibitory is not None and sparse.weights.nnz > 0
    return {
        "neurons": len(sparse),
        "synapses": sparse.weights.nnz,
        "neurons_kept": round(len(sparse) / len(dense), 6),
        "synapses_kept": round(sparse.weights.nnz / dense.weights.nnz, 6),
        "inhibitory": None if inhibitory is None else round(float(inhibitory.mean()), 6),
        "inhibition": round(inhibitory_share(sparse), 6) if told else None,
    }
