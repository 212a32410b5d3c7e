"""A network learns a task: its synapses, in one of several ways, on the task's training part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from microglia.errors import ConfigError, nearest
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.tasks.by_timing import learn_by_timing
from microglia.tasks.kinds import Classification, Forecasting
from microglia.tasks.through_time import ThroughTime, learn_labels, learn_next
from microglia.training.pair_stdp import PairSTDPConfig

Array = NDArray[Any]
Rule = Literal["none", "through time", "timing", "timing, heterogeneous"]


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How synapses learn.

        none                    not at all
        through time            by surrogate gradients (`learn_labels`, `learn_next`)
        timing                  by STDP, one time constant for all (`learn_by_timing`)
        timing, heterogeneous   by STDP, each neuron with a time constant of its own

    Args:
        spread: coefficient of variation of these.
        most: training sequences that STDP sees; of a series, the windows of `through_time`, each
            from rest. STDP's settings were chosen on no task.

    Raises:
        ConfigError: an unknown rule.
    """

    rule: Rule = "through time"
    through_time: ThroughTime = field(default_factory=ThroughTime)
    stdp: PairSTDPConfig = field(
        default_factory=lambda: PairSTDPConfig(tau_plus=20.0, tau_minus=20.0)
    )
    spread: float = 0.5
    most: int = 256

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            known = list(get_args(Rule))
            raise ConfigError(f"rule: '{self.rule}' is unknown.{nearest(self.rule, known)}")


def teach(
    network: RecurrentNetwork,
    task: Classification | Forecasting,
    learning: Learning,
    *,
    seed: int = 0,
) -> RecurrentNetwork:
    """The network, which has input weights of its own, after learning on the training part.

    Readouts are fitted afterwards: ``replace(task, scale=None)(network, seed, False)``.
    """
    if learning.rule == "none":
        return network
    if learning.rule == "through time":
        config = learning.through_time
        if isinstance(task, Classification):
            return learn_labels(network, task.data(), task.timing, config=config, seed=seed)
        return learn_next(network, task.training(seed), task.timing, config=config, seed=seed)
    spread = learning.spread if learning.rule == "timing, heterogeneous" else 0.0
    stdp = replace(learning.stdp, spread=spread, seed=seed)
    batches = _batches(task, learning, seed)
    return learn_by_timing(network, batches, task.timing, config=stdp)


def _batches(task: Classification | Forecasting, learning: Learning, seed: int) -> Iterator[Array]:
    """Values [P, B, K] of the training part."""
    size = learning.through_time
    if isinstance(task, Classification):
        part = task.data().train
        chosen = np.random.default_rng([seed, 2]).permutation(len(part.labels))[: learning.most]
        # Neighbours in length, so that few are presented longer than they are.
        order = chosen[np.argsort(part.lengths[chosen], kind="stable")]
        for first in range(0, len(order), size.batch_size):
            rows = order[first : first + size.batch_size]
            yield part.values[rows, : part.lengths[rows].max()].transpose(1, 0, 2)
    else:
        series = task.training(seed)
        windows = len(series) // size.window
        pieces = series[: windows * size.window].reshape(windows, size.window, -1)
        for first in range(0, windows, size.streams):
            yield pieces[first : first + size.streams].transpose(1, 0, 2)
