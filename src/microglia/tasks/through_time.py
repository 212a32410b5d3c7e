"""A network whose synapses learn a task through time, by surrogate gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from microglia.errors import ConfigError, TrainingError
from microglia.frameworks import reset
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.networks import HRSNN
from microglia.networks.lsnn import Damped
from microglia.networks.readout import filtered
from microglia.simulation import fit_ridge
from microglia.tasks.classify import Labelled
from microglia.tasks.reservoir import Activity, Timing, present

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Values [P, N, K], and the loss of what is told at the end of each [P, N, outputs]."""

    values: Tensor
    loss: Callable[[Tensor], Tensor] | None
    """None where the network only comes to where the next batch begins."""
    fresh: bool
    """Whether they begin from rest, or go on where the batch before ended."""


@dataclass(frozen=True, kw_only=True)
class ThroughTime:
    """Adam on a cosine to 0, the Euclidean norm of gradients held at 1.

    Args:
        rate: learning rate of weights and biases, in units of their mean size before.
        window: points of a series that a gradient runs back through.
        streams: parts of a series that run side by side.
        dampening: of the surrogate's slope; at 1 gradients grow from step to step until they drown
            all others.

    Raises:
        ConfigError: a value out of range.
    """

    epochs: int = 12
    rate: float = 0.03
    batch_size: int = 64
    window: int = 25
    streams: int = 16
    dampening: float = 0.3

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "window", "streams"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: at least 1 wanted, got {getattr(self, name)}")
        for name in ("rate", "dampening"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"{name}: above 0 wanted, got {getattr(self, name)}")


def learn_labels(
    network: RecurrentNetwork, data: Labelled, timing: Timing, *, config: ThroughTime, seed: int = 0
) -> RecurrentNetwork:
    """The network after learning to tell labelled sequences apart at their end.

    The weights of the synapses that there are, of the inputs, and the bias descend on the
    cross-entropy of a linear readout of filtered spikes, which learns with them and is then left
    behind, for others to be fitted (`classify`). Signs of weights may change.

    Raises:
        TrainingError: the loss is no number.
    """
    part = data.train
    values = torch.as_tensor(np.asarray(part.values), dtype=torch.float32).transpose(0, 1)
    ends, labels = torch.as_tensor(part.lengths) - 1, torch.as_tensor(part.labels).long()

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        for rows in torch.randperm(len(labels), generator=generator).split(config.batch_size):

            def loss(told: Tensor, rows: Tensor = rows) -> Tensor:
                at_end = told[ends[rows], torch.arange(len(rows))]
                return functional.cross_entropy(at_end, labels[rows])

            yield Batch(values[: int(ends[rows].max()) + 1, rows], loss, fresh=True)

    spread = len(network) ** -0.5
    start = spread * np.random.default_rng([seed, 1]).standard_normal((len(network), data.classes))
    reading = Reading(network, start, np.zeros(data.classes), timing, dampening=config.dampening)
    return _learn(reading, batches, unit=1.0, config=config, seed=seed)


def learn_next(
    network: RecurrentNetwork, series: Array, timing: Timing, *, config: ThroughTime, seed: int = 0
) -> RecurrentNetwork:
    """The network after learning to forecast a scaled series [P, V] a step ahead.

    The squared error of the change to the next point, in units of its variance, of a readout of
    filtered spikes and the point that begins as the untrained network's ridge regression: what a
    bad one asks for would drown what a network needs. The series is cut into `streams` that run
    side by side from rest, their first window not judged; a gradient runs back through one
    window. Else as `learn_labels`.

    Raises:
        ConfigError: a series too short for two windows of each stream.
        TrainingError: the loss is no number.
    """
    series = np.asarray(series, np.float64)
    change = np.diff(series, axis=0)
    change = change / change.std(0)
    stream = len(change) // config.streams
    if stream < 3 * config.window:
        raise ConfigError(
            f"window, streams: three windows of {config.window} points in each of "
            f"{config.streams} streams wanted, the series has {len(series)} points"
        )
    begins = torch.arange(config.streams) * stream
    x, targets = (torch.as_tensor(a, dtype=torch.float32) for a in (series, change))

    def batches(generator: torch.Generator) -> Iterator[Batch]:
        shift = int(torch.randint(config.window, (), generator=generator))
        for first in range(shift, stream - config.window + 1, config.window):
            points = torch.arange(first, first + config.window).unsqueeze(1) + begins

            def loss(told: Tensor, points: Tensor = points) -> Tensor:
                return functional.mse_loss(told, targets[points])

            fresh = first == shift
            yield Batch(x[points], None if fresh else loss, fresh=fresh)

    traces, _ = present(network, series[:-1, None], timing, activity=Activity())
    features = np.concatenate([traces[:, 0], series[:-1]], axis=1)
    most = round(0.8 * len(features))
    readout = fit_ridge(features[:most], change[:most], held_out=(features[most:], change[most:]))
    offset = readout.offset - readout.center @ readout.weights
    reading = Reading(network, readout.weights, offset, timing, dampening=config.dampening)
    unit = float(np.abs(readout.weights).mean())
    return _learn(reading, batches, unit=unit, config=config, seed=seed)


class Reading(nn.Module):
    """A network whose filtered spikes are read linearly at the end of each value, and the value
    too where the readout has weights for it."""

    def __init__(
        self,
        network: RecurrentNetwork,
        weights: Array,
        offset: Array,
        timing: Timing,
        *,
        dampening: float,
    ) -> None:
        super().__init__()
        self.cell = HRSNN.from_recurrent_network(
            network, dtype=torch.float32, surrogate_function=Damped(dampening)
        )
        self.weight = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))
        self.offset = nn.Parameter(torch.as_tensor(offset, dtype=torch.float32))
        self.tau, self.hold = timing.tau, timing.steps(network)
        self.trace: Tensor | None = None

    def rest(self) -> None:
        reset(self)
        self.trace = None

    def go_on(self) -> None:
        """Keep the state, and forget how it came about."""
        self.cell.detach()
        self.trace = None if self.trace is None else self.trace.detach()

    def forward(self, values: Tensor) -> Tensor:
        """[P, N, K] to [P, N, outputs]."""
        spikes = self.cell(values.repeat_interleave(self.hold, 0))
        traces = filtered(spikes, self.tau, dt=self.cell.dt, start=self.trace)
        self.trace = traces[-1]
        features = traces[self.hold - 1 :: self.hold]
        if len(self.weight) > features.shape[-1]:
            features = torch.cat([features, values], dim=-1)
        return features @ self.weight + self.offset


def _learn(
    reading: Reading,
    batches: Callable[[torch.Generator], Iterator[Batch]],
    *,
    unit: float,
    config: ThroughTime,
    seed: int,
) -> RecurrentNetwork:
    """`unit` is that of the readout's rate."""
    own = list(reading.cell.parameters())
    sizes = [*(float(p.detach().abs().mean()) for p in own), unit, unit]
    groups = [
        {"params": [p], "lr": config.rate * size}
        for p, size in zip([*own, reading.weight, reading.offset], sizes, strict=True)
    ]
    optimizer = torch.optim.Adam(groups)
    rates = [config.rate * size for size in sizes]
    order = torch.Generator().manual_seed(seed)
    for epoch in range(config.epochs):
        each = list(batches(order))
        for k, batch in enumerate(each):
            if batch.fresh:
                reading.rest()
            reading.go_on()
            if batch.loss is None:
                with torch.no_grad():
                    reading(batch.values)
                continue
            loss = batch.loss(reading(batch.values))
            if not torch.isfinite(loss):
                raise TrainingError(f"through time: the loss is {float(loss)}; lower the rate")
            u = (epoch + k / len(each)) / config.epochs
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * u)) / 2
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reading.parameters(), 1.0)
            optimizer.step()
    return reading.cell.recurrent_network()
