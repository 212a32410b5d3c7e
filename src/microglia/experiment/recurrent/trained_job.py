"""One recurrent network that learns a task, pruned before or after it: one line of results."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from microglia.errors import ConfigError, TrainingError, nearest
from microglia.experiment.job import Record
from microglia.experiment.recurrent.files import load_pruned, save_pruned
from microglia.experiment.recurrent.job import OTHER_NOISE, RecurrentJob, rounded, size_of, tried_of
from microglia.experiment.recurrent.sparse_networks import Budget
from microglia.experiment.run_dir import LOCK
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import Calibrated, Pruned, calibrate_gain, memory_capacity
from microglia.networks import HRSNNConfig
from microglia.tasks.kinds import Classification, Forecasting
from microglia.tasks.reservoir import fed
from microglia.tasks.suite import WITH_DATA
from microglia.tasks.teach import Learning, Rule, teach
from microglia.tasks.through_time import ThroughTime

KEYS = frozenset(
    "kind name experiment label seed date machine python versions commit config network gain "
    "figures training seconds".split()
)
"""What every record of this kind has; `training` are the seconds of all learning."""

DENSE = "dense"
"""The label of the network that nothing is taken from."""
NETWORK = "network"
CONFIG = "config.json"
SIZE = 256
"""Neurons. As in larger networks each hears 100 others, so that 39 % of all synapses are there."""
GRID = (0.1, 0.2, 0.35, 0.6, 1.0, 1.7, 3.0)
"""What is tried first for Σ|w| over the dense network's: small networks want larger gains."""


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
"""Chosen by hand with the dense network of seed 0, which no table reports, for figures that get
better within a minute: benchmarks/trained_settings.py."""


@dataclass(frozen=True, kw_only=True)
class TrainedJob(RecurrentJob):
    """A network of 256 neurons, pruned and taught; or taught, pruned and taught again.

    A network that comes out silent or saturated, or can't learn, has a sentence under "failed".

    Args:
        task: one of `SETTINGS`.
        label: what is compared.
        budget: how it is made sparse.
        seed: of the network, of pruning, of the task's series and inputs, and of learning.
        rule: how its synapses learn; readouts are fitted afterwards in any case.
        slow: the task is shown as slowly as to networks that don't learn.
        rounds: how often it learns, each time from the first learning rate on.
        alike: membrane time constants are all at their mean; all else is as it was drawn.
        after: the dense network learns first; by what it then does in the training part its least
            active neurons go, and what is left learns once more.
        calibrated: what learns has the gain of its best memory capacity; else its weights stay as
            they were drawn, or learnt.

    Raises:
        ConfigError: an unknown task.
    """

    task: str
    label: str
    budget: Budget
    seed: int
    rule: Rule = "through time"
    slow: bool = False
    rounds: int = 1
    alike: bool = False
    after: bool = False
    calibrated: bool = True
    experiment: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "experiment", f"trained, {self.task}")
        if self.task not in SETTINGS:
            raise ConfigError(f"task: '{self.task}'?{nearest(self.task, list(SETTINGS))}")

    @staticmethod
    def differs_in_pace(task: str) -> bool:
        """Whether the task is shown faster than to networks that don't learn."""
        return WITH_DATA[task].timing.hold != SETTINGS[task].hold

    @property
    def builds_on(self) -> list[str]:
        return [self._dense().name] if self.after else []

    def config(self) -> dict[str, Any]:
        return {
            "network": asdict(HRSNNConfig(neurons=SIZE)),
            **asdict(self.budget),
            "task": self.task,
            "shown": self._task().settings(),
            "learning": asdict(self._learning()),
            "rounds": self.rounds,
            "alike": self.alike,
            "after": self.after,
            "grid": list(GRID) if self.calibrated else None,
        }

    def do(self, done: Mapping[str, Record], *, folder: Path, progress: bool) -> Record:
        """Draw, prune, calibrate, teach, and fit readouts."""
        began = time.process_time()
        whole = self._whole(folder) if self.after else self._drawn()
        network, found = self._pruned(whole)
        learning = time.process_time()
        before = done[self._dense().name]["training"] if self.after else 0.0
        try:
            for _ in range(self.rounds):
                network = teach(network, self._task(), self._learning(), seed=self.seed)
            seconds = time.process_time() - learning
            self._save(network, folder)
            scores = replace(self._task(), scale=None)(network, self.seed, False)
            figures: dict[str, Any] = rounded(self.task, scores)
        except (ConfigError, TrainingError) as fault:
            seconds, figures = time.process_time() - learning, {"failed": str(fault)}
        return self.record(
            "trained",
            began=began,
            network=size_of(network, whole),
            gain=round(found.gain, 6),
            tried=tried_of(found),
            figures=figures,
            training=round(before + seconds, 1),
        )

    def _drawn(self) -> RecurrentNetwork:
        config = HRSNNConfig(neurons=SIZE)
        network = config.draw(self.seed)
        alike = np.full(len(network), config.tau_m.mean)
        return replace(network, tau_m=alike) if self.alike else network

    def _task(self) -> Classification | Forecasting:
        task = WITH_DATA[self.task]
        assert isinstance(task, (Classification, Forecasting))
        if self.slow:
            return task
        return replace(task, timing=replace(task.timing, hold=SETTINGS[self.task].hold))

    def _learning(self) -> Learning:
        return Learning(rule=self.rule, through_time=SETTINGS[self.task].through_time)

    def _pruned(self, whole: RecurrentNetwork) -> tuple[RecurrentNetwork, Calibrated]:
        """With the task's inputs and at its gain; and how that was found."""
        task = self._task()
        metric = partial(memory_capacity, seed=self.seed + OTHER_NOISE)
        rates = replace(task, scale=None).rates(whole, self.seed) if self.after else None
        pruned = self.budget.of(whole, seed=self.seed, metric=metric, rates=rates)
        by = "memory" if self.calibrated else "none"
        found = calibrate_gain(pruned, whole, by=by, metric=metric, grid=GRID)
        if self.after:  # what has learnt keeps the inputs that it learnt
            return found.network, found
        return fed(found.network, task.channels, scale=task.scale, seed=self.seed), found

    def _dense(self) -> TrainedJob:
        """The job of the dense network of the seed."""
        undone: dict[str, Any] = {"after": False, "rounds": 1, "calibrated": True}
        return replace(self, label=DENSE, budget=Budget(rule="dense"), **undone)

    def _whole(self, folder: Path) -> RecurrentNetwork:
        """The dense network after it has learnt, as its job left it; taught here where that is
        gone, or was of another config."""
        dense = self._dense()
        place = folder / dense.name
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / LOCK):
            known = place / CONFIG
            if not (known.is_file() and json.loads(known.read_text()) == _as_json(dense.config())):
                network, _ = dense._pruned(dense._drawn())
                dense._save(
                    teach(network, dense._task(), dense._learning(), seed=self.seed), folder
                )
            return load_pruned(place / NETWORK).network

    def _save(self, network: RecurrentNetwork, folder: Path) -> None:
        place = folder / self.name
        (place / CONFIG).unlink(missing_ok=True)
        save_pruned(Pruned.begin(network), place / NETWORK)
        (place / CONFIG).write_text(json.dumps(self.config()), encoding="utf-8")


def _as_json(config: dict[str, Any]) -> Any:
    return json.loads(json.dumps(config))
