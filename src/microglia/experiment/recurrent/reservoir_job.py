"""One untrained recurrent network, pruned and put to all tasks: one line of a results file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from microglia.errors import ConfigError
from microglia.experiment.job import Record
from microglia.experiment.recurrent.job import OTHER_NOISE, RecurrentJob, rounded, size_of, tried_of
from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import calibrate_gain, memory_capacity
from microglia.networks import HRSNNConfig
from microglia.tasks import TASKS, run_task
from microglia.tasks.suite import WITH_DATA

KEYS = frozenset(
    "kind name experiment label seed date machine python versions commit config network gains "
    "figures seconds".split()
)
"""What every record of this kind has."""

CALIBRATED = "calibrated"
"""The gain of the best memory capacity; others are called by α Σ|w| over the dense Σ|w|."""


@dataclass(frozen=True, kw_only=True)
class ReservoirJob(RecurrentJob):
    """A network of `HRSNNConfig()`'s distribution, what is left of it, and what it is asked.

    Args:
        experiment: the setting that networks are compared in, such as "kept 0.2".
        label: what is compared.
        budget: how the network is made sparse.
        seed: of the network, of pruning, and of the tasks' series, inputs and noise.
        tasks: asked at the calibrated gain, and at each of `gains` in brief (see `run_task`).
        more: tasks that are asked at the calibrated gain alone.
        gains: α Σ|w| over the dense network's Σ|w|.

    Raises:
        ConfigError: a task is unknown, or a gain isn't above 0.
    """

    experiment: str
    label: str
    budget: Budget
    seed: int
    tasks: tuple[str, ...]
    more: tuple[str, ...] = ()
    gains: tuple[float, ...] = (0.35, 0.8)

    def __post_init__(self) -> None:
        unknown = set(self.tasks + self.more) - set(TASKS)
        if unknown or not all(gain > 0 for gain in self.gains):
            raise ConfigError(f"tasks, gains: {sorted(unknown)} unknown; {self.gains} above 0?")

    def config(self) -> dict[str, Any]:
        return {
            "network": dataclasses.asdict(HRSNNConfig()),
            **dataclasses.asdict(self.budget),
            "tasks": settings_of(self.tasks),
            "more": settings_of(self.more),
            "gains": list(self.gains),
        }

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """Draw, prune, calibrate, and ask at each gain.

        A task on which the network is silent or saturated has a sentence under "failed".
        """
        began = time.process_time()
        dense = HRSNNConfig().draw(self.seed)
        metric = partial(memory_capacity, seed=self.seed + OTHER_NOISE)
        sparse = self.budget.of(dense, seed=self.seed, metric=metric)
        gains, tried = self._gains(sparse, dense)
        figures: dict[str, dict[str, Any]] = {}
        for point, gain in gains.items():
            network = sparse.with_weights(sparse.weights * gain)
            tasks = self.tasks + (self.more if point == CALIBRATED else ())
            brief = point != CALIBRATED
            figures[point] = {task: asked(task, network, self.seed, brief=brief) for task in tasks}
        return self.record(
            "reservoir",
            began=began,
            network=size_of(sparse, dense),
            gains={point: round(gain, 6) for point, gain in gains.items()},
            tried=tried,
            figures=figures,
        )

    def _gains(
        self, sparse: RecurrentNetwork, dense: RecurrentNetwork
    ) -> tuple[dict[str, float], dict[str, float]]:
        """α at each point, without recurrence but one; and the memory capacities it was chosen
        from."""
        size = np.abs(sparse.weights.data).sum()
        if size == 0:
            return {CALIBRATED: 1.0}, {}
        unit = float(np.abs(dense.weights.data).sum() / size)
        metric = partial(memory_capacity, seed=self.seed + OTHER_NOISE)
        found = calibrate_gain(sparse, dense, metric=metric)
        equal = {f"{part:g}": unit * part for part in self.gains}
        return {**equal, CALIBRATED: found.gain}, tried_of(found)


def settings_of(tasks: Iterable[str]) -> dict[str, Any]:
    """Task -> its settings; those without data have none."""
    return {task: WITH_DATA[task].settings() if task in WITH_DATA else {} for task in tasks}


def asked(task: str, network: RecurrentNetwork, seed: int, *, brief: bool) -> dict[str, Any]:
    """A task's figures, or under "failed" why there are none."""
    try:
        figures = run_task(task, network, seed=seed, brief=brief)
    except ConfigError as fault:
        return {"failed": str(fault)}
    return rounded(task, figures)
