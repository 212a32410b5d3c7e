"""The kinds of tasks: what a network is scored on, and what it does in the training part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.tasks.classify import Labelled, at_the_end, classify
from microglia.tasks.forecast import WASHOUT, borders, forecast, scaled
from microglia.tasks.horizons import SHARES, coming, forecast_horizons
from microglia.tasks.reservoir import Activity, Timing, fed, present

Array = NDArray[Any]
Figures = dict[str, float]


class Kind:
    """What all kinds have in common: settings that a record can tell."""

    def settings(self) -> dict[str, Any]:
        """All of them, as JSON gives them back; where data come from by name and arguments."""
        found = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if callable(value):
                arguments = value.args if isinstance(value, partial) else ()
                name = getattr(value, "func", value).__name__
                value = " ".join([name, *map(str, arguments)])
            found[field.name] = _plain(value)
        return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class Classification(Kind):
    """Sequences told apart by the spikes at their end; `scale` as in `classify`."""

    data: Callable[[], Labelled]
    timing: Timing
    scale: float | None = 1.0

    @property
    def channels(self) -> int:
        """Of the input."""
        return int(self.data().train.values.shape[2])

    def __call__(self, network: RecurrentNetwork, seed: int, brief: bool) -> Figures:
        """See `classify`; `brief` is without the logistic readout."""
        return classify(
            network, self.data(), self.timing, scale=self.scale, logistic=not brief, seed=seed
        )

    def rates(self, network: RecurrentNetwork, seed: int) -> Array:
        """Of each neuron in the training part, in Hz [N]."""
        part, activity = self.data().train, Activity()
        network = fed(network, self.channels, scale=self.scale, seed=seed)
        at_the_end(network, part, self.timing, activity)
        return activity.rates(network)


@dataclass(frozen=True, kw_only=True)
class Forecasting(Kind):
    """A chaotic series, of a seed, forecast a step ahead and running free."""

    series: Callable[[int], Array]
    lyapunov_points: float
    timing: Timing
    scale: float | None = 1.0

    @property
    def channels(self) -> int:
        """Of the input."""
        return int(self.series(0).shape[1])

    def __call__(self, network: RecurrentNetwork, seed: int, brief: bool) -> Figures:
        """See `forecast`; `brief` doesn't run free."""
        return forecast(
            network,
            self.series(seed),
            self.timing,
            lyapunov_points=self.lyapunov_points,
            scale=self.scale,
            free=not brief,
            seed=seed,
        )

    def rates(self, network: RecurrentNetwork, seed: int) -> Array:
        """Of each neuron in the training part, in Hz [N]."""
        return _rates(network, self.training(seed), self.timing, self.scale, seed)

    def training(self, seed: int) -> Array:
        """The training part, scaled [P, V]."""
        series = self.series(seed)
        learn, _ = borders(len(series), WASHOUT)
        return scaled(series, series[WASHOUT:learn])[:learn]


@dataclass(frozen=True, kw_only=True)
class Horizons(Kind):
    """A measured series at several horizons; with `changes`, its changes come in."""

    series: Callable[[], Array]
    horizons: tuple[int, ...]
    timing: Timing
    changes: bool = False
    scale: float | None = 1.0

    def __call__(self, network: RecurrentNetwork, seed: int, brief: bool) -> Figures:
        """See `forecast_horizons`."""
        return forecast_horizons(
            network,
            self.series(),
            self.timing,
            horizons=self.horizons,
            changes=self.changes,
            scale=self.scale,
            seed=seed,
        )

    def rates(self, network: RecurrentNetwork, seed: int) -> Array:
        """Of each neuron in the training part, in Hz [N]."""
        series = np.asarray(self.series(), np.float64)
        learn = round(SHARES[0] * len(series))
        x = scaled(series, series[:learn])[:learn]
        return _rates(
            network, coming(x, learn, changes=self.changes), self.timing, self.scale, seed
        )


def _rates(
    network: RecurrentNetwork, values: Array, timing: Timing, scale: float | None, seed: int
) -> Array:
    activity = Activity()
    network = fed(network, values.shape[1], scale=scale, seed=seed)
    present(network, values[:, None], timing, activity=activity)
    return activity.rates(network)
