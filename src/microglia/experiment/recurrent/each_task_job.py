"""A network for each task, made small by what its neurons do there: the rival of one for all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from microglia.experiment.job import Record
from microglia.experiment.recurrent.job import OTHER_NOISE, RecurrentJob, size_of, tried_of
from microglia.experiment.recurrent.reservoir_job import (
    CALIBRATED,
    asked,
    settings_of,
)
from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.lyapunov import calibrate_gain, memory_capacity
from microglia.networks import HRSNNConfig
from microglia.tasks.suite import WITH_DATA


@dataclass(frozen=True, kw_only=True)
class EachTaskJob(RecurrentJob):
    """As a `ReservoirJob` at its own gain, but with the network of each task pruned by the activity
    of neurons in that task's training part.

    Args:
        budget: of a control whose neurons go by activity.
        tasks: those with a training part.
    """

    experiment: str
    label: str
    budget: Budget
    seed: int
    tasks: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        return {
            "network": asdict(HRSNNConfig()),
            **asdict(self.budget),
            "tasks": settings_of(self.tasks),
            "for": "each task",
        }

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """For each task: look, prune, calibrate, and ask."""
        began = time.process_time()
        dense = HRSNNConfig().draw(self.seed)
        metric = partial(memory_capacity, seed=self.seed + OTHER_NOISE)
        figures, gains, tried, size = {}, {}, {}, {}
        for task in self.tasks:
            rates = WITH_DATA[task].rates(dense, self.seed)
            sparse = self.budget.of(dense, seed=self.seed, metric=metric, rates=rates)
            calibrated = calibrate_gain(sparse, dense, metric=metric)
            figures[task] = asked(task, calibrated.network, self.seed, brief=False)
            gains[task], tried[task] = round(calibrated.gain, 6), tried_of(calibrated)
            size = size_of(sparse, dense)
        return self.record(
            "each task",
            began=began,
            network=size,
            gains=gains,
            tried=tried,
            figures={CALIBRATED: figures},
        )
