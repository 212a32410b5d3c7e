"""One recurrent network that learns a task, pruned before or after it: one line of results."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from microglia.errors import ConfigError, nearest
from microglia.experiment.job import Record
from microglia.experiment.provenance import provenance
from microglia.experiment.recurrent_files import is_saved, load_pruned, save_pruned
from microglia.experiment.reservoir_job import OTHER_NOISE, differences, rounded, size_of
from microglia.experiment.run_dir import LOCK
from microglia.experiment.sparse_networks import Budget
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import Pruned, calibrate_gain, memory_capacity
from microglia.networks import Gamma, HRSNNConfig
from microglia.tasks.kinds import Classification, Forecasting
from microglia.tasks.reservoir import fed
from microglia.tasks.suite import WITH_DATA
from microglia.tasks.teach import Learning, Rule, teach
from microglia.tasks.through_time import ThroughTime

KEYS = frozenset(
    "kind name experiment label seed date machine python versions commit config network gain "
    "figures training seconds".split()
)
"""What every record of this kind has; `training` are the seconds of learning alone."""

DENSE = "dense"
"""The label of the network that nothing is taken from."""
NETWORK = "network"
NEURONS = 256
ALIKE = Gamma(20e-3)
"""All membrane time constants at the mean of the heterogeneous ones."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A task is shown faster to a network that learns it: gradients run back through every step."""

    hold: float
    through_time: ThroughTime


SETTINGS = {
    "digits": Setting(hold=0.008, through_time=ThroughTime(epochs=12)),
    "natops": Setting(hold=0.002, through_time=ThroughTime(epochs=30, batch_size=32)),
    "japanese-vowels": Setting(hold=0.003, through_time=ThroughTime(epochs=30, batch_size=32)),
    "lorenz": Setting(hold=0.010, through_time=ThroughTime(epochs=10)),
}
"""Chosen on validation parts, with dense networks of the seeds 0 to 2."""


@dataclass(frozen=True, kw_only=True)
class TrainedJob:
    """A network of 256 neurons, pruned and taught; or taught, pruned and taught again.

    Args:
        task: one of `SETTINGS`.
        label: what is compared.
        budget: how it is made sparse.
        seed: of the network, of pruning, of the task's series and inputs, and of learning.
        rule: how its synapses learn; readouts are fitted afterwards in any case.
        alike: whether membrane time constants are all alike.
        after: the dense network learns first; by what it then does in the training part its least
            active neurons go, and what is left learns once more.

    Raises:
        ConfigError: an unknown task.
    """

    task: str
    label: str
    budget: Budget
    seed: int
    rule: Rule = "through time"
    alike: bool = False
    after: bool = False

    def __post_init__(self) -> None:
        if self.task not in SETTINGS:
            raise ConfigError(f"task: '{self.task}'?{nearest(self.task, list(SETTINGS))}")

    @property
    def experiment(self) -> str:
        return f"trained, {self.task}"

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.label}-seed{self.seed}"

    @property
    def builds_on(self) -> list[str]:
        return []

    def config(self) -> dict[str, Any]:
        """What makes another config another experiment."""
        return {
            "network": asdict(self._drawn_from()),
            **asdict(self.budget),
            "task": self.task,
            "hold": SETTINGS[self.task].hold,
            "learning": asdict(self._learning()),
            "after": self.after,
        }

    def differs_from(self, record: Record, *, where: str) -> list[str]:
        """In what settings its config is not that of a record."""
        return differences(self.config(), record["config"])

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """Draw, prune, calibrate, teach, and fit readouts."""
        began = time.process_time()
        dense, task = self._drawn_from().draw(self.seed), self._task()
        if self.after:
            taught = self._dense_taught(folder)
            rates = replace(task, scale=None).rates(taught, self.seed)
            network, gain = self.budget.of(taught, seed=self.seed, metric=_none, rates=rates), 1.0
        else:
            network, gain = self._pruned(dense, self.budget)
        learning = time.process_time()
        network = teach(network, task, self._learning(), seed=self.seed)
        ready = time.process_time()
        save_pruned(Pruned.begin(network), folder / self.name / NETWORK)
        figures = replace(task, scale=None)(network, self.seed, False)
        return {
            "kind": "trained",
            "name": self.name,
            "experiment": self.experiment,
            "label": self.label,
            "seed": self.seed,
            **provenance(torch.device("cpu")),
            "config": self.config(),
            "network": size_of(network, dense),
            "gain": round(gain, 6),
            "figures": rounded(self.task, figures),
            "training": round(ready - learning, 1),
            "seconds": round(time.process_time() - began, 1),
        }

    def _drawn_from(self) -> HRSNNConfig:
        config = HRSNNConfig(neurons=NEURONS)
        return replace(config, tau_m=ALIKE) if self.alike else config

    def _task(self) -> Classification | Forecasting:
        task = WITH_DATA[self.task]
        assert isinstance(task, (Classification, Forecasting))
        return replace(task, timing=replace(task.timing, hold=SETTINGS[self.task].hold))

    def _learning(self) -> Learning:
        return Learning(rule=self.rule, through_time=SETTINGS[self.task].through_time)

    def _pruned(self, dense: RecurrentNetwork, budget: Budget) -> tuple[RecurrentNetwork, float]:
        """With the task's inputs and at the gain of the best memory capacity; and that gain."""
        metric = partial(memory_capacity, seed=self.seed + OTHER_NOISE)
        pruned = budget.of(dense, seed=self.seed, metric=metric)
        found, task = calibrate_gain(pruned, dense, metric=metric), self._task()
        return fed(found.network, task.channels, scale=task.scale, seed=self.seed), found.gain

    def _dense_taught(self, folder: Path) -> RecurrentNetwork:
        """What the job of the dense network of the seed leaves; done here if it isn't there."""
        dense = replace(self, label=DENSE, budget=Budget(rule="dense"), after=False)
        place = folder / dense.name
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / LOCK):
            if not is_saved(place / NETWORK):
                network, _ = dense._pruned(dense._drawn_from().draw(self.seed), dense.budget)
                taught = teach(network, dense._task(), dense._learning(), seed=self.seed)
                save_pruned(Pruned.begin(taught), place / NETWORK)
            return load_pruned(place / NETWORK).network


def _none(network: RecurrentNetwork) -> float:
    raise AssertionError("controls ask no metric")
