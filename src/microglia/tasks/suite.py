"""The tasks by name, with their data and the settings that they were fixed at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from microglia.data import chaos
from microglia.data.series import read_series
from microglia.errors import ConfigError, nearest
from microglia.frameworks.recurrent import RecurrentNetwork
from microglia.lyapunov import lyapunov_spectrum, memory_capacity
from microglia.lyapunov.noise import smooth_noise
from microglia.tasks.kinds import Array, Classification, Figures, Forecasting, Horizons
from microglia.tasks.labelled import cifar10_rates, digit_rows, labelled_sequences
from microglia.tasks.reservoir import Timing

Task = Callable[[RecurrentNetwork, int, bool], Figures]
"""Of a network, a seed, and whether to be brief."""


def run_task(
    name: str, network: RecurrentNetwork, *, seed: int = 0, brief: bool = False
) -> Figures:
    """A task's figures for a network.

    Args:
        seed: of its series, input weights and noise.
        brief: without logistic readouts and free-running forecasts.

    Raises:
        ConfigError: an unknown task, or a network that is silent or saturated on it.
        DataError: its data isn't there.
    """
    if name not in TASKS:
        raise ConfigError(f"task: '{name}' is unknown.{nearest(name, list(TASKS))}")
    return TASKS[name](network, seed, brief)


def _memory(network: RecurrentNetwork, seed: int, brief: bool) -> Figures:
    return {"capacity": memory_capacity(network, seed=seed)}


def _exponents(network: RecurrentNetwork, seed: int, brief: bool) -> Figures:
    """The leading exponents under smooth noise, exact ones; /s."""
    assert network.inputs is not None
    drive = smooth_noise(
        network.inputs.shape[1],
        duration=3.0,
        dt=network.dt,
        generator=np.random.default_rng(seed),
    )
    found = lyapunov_spectrum(network, k=4, drive=drive, duration=2.0, seed=seed)
    leading = {f"lambda_{k}": float(value) for k, value in enumerate(found.exponents, 1)}
    return {**leading, "error": float(found.errors[0]), "rate": float(found.rate or 0.0)}


def _sequences(name: str, *, hold: float, tau: float, scale: float) -> Classification:
    timing = Timing(hold=hold, tau=tau)
    return Classification(data=partial(labelled_sequences, name), timing=timing, scale=scale)


def _chaos(
    system: str, *, step: float, hold: float, scale: float, only: int | None = None
) -> Forecasting:
    """`step` in the system's own time; `only` is the one variable that comes in and is forecast."""
    return Forecasting(
        series=partial(_chaotic, system, POINTS, step, only),
        lyapunov_points=1 / (chaos.EXPONENT[system] * step),
        timing=Timing(hold=hold, tau=0.1),
        scale=scale,
    )


@cache
def _chaotic(system: str, points: int, step: float, only: int | None, seed: int) -> Array:
    makers = {"lorenz": chaos.lorenz, "rossler": chaos.rossler, "mackey-glass": chaos.mackey_glass}
    series = np.asarray(makers[system](points, step=step, seed=seed).values, np.float64)
    return series if only is None else series[:, [only]]


def _series(
    source: str,
    *horizons: int,
    variables: tuple[str, ...] | None = None,
    rows: range | None = None,
    changes: bool = False,
    scale: float = 1.0,
) -> Horizons:
    """`changes`: logarithms are forecast, and their changes come in."""
    return Horizons(
        series=partial(_measured, source, variables, rows, changes),
        horizons=horizons,
        timing=Timing(hold=0.005, tau=0.1),
        changes=changes,
        scale=scale,
    )


@cache
def _measured(
    source: str, variables: tuple[str, ...] | None, rows: range | None, logarithm: bool
) -> Array:
    series = read_series(f"timeseries/{source}.csv", variables=variables, rows=rows)
    values = np.asarray(series.values, np.float64)
    return np.log(values) if logarithm else values


POINTS = 5000
"""Of each chaotic series."""

WITH_DATA: dict[str, Classification | Forecasting | Horizons] = {
    "digits": Classification(data=digit_rows, timing=Timing(hold=0.008)),
    "natops": _sequences("NATOPS", hold=0.008, tau=0.1, scale=0.5),
    "japanese-vowels": _sequences("JapaneseVowels", hold=0.010, tau=0.1, scale=0.5),
    "pen-digits": _sequences("PenDigits", hold=0.010, tau=0.04, scale=1.0),
    "cifar10": Classification(data=cifar10_rates, timing=Timing(hold=0.001), scale=0.5),
    "lorenz": _chaos("lorenz", step=0.02, hold=0.040, scale=2.0),
    "lorenz-x": _chaos("lorenz", step=0.02, hold=0.020, scale=2.0, only=0),
    "rossler": _chaos("rossler", step=0.25, hold=0.020, scale=2.0, only=0),
    "mackey-glass": _chaos("mackey-glass", step=6.0, hold=0.020, scale=2.0),
    "google": _series(
        "goog_daily_2004_2019", 1, 5, 20, variables=("Close",), changes=True, scale=1.0
    ),
    "wind": _series("wind_gefcom2012", 1, 6, 24, 48, rows=range(13_000), scale=0.7),
    "exchange": _series("exchange_rate", 1, 24, 96, 192, changes=True, scale=0.7),
    "etth1": _series("ETTh1", 6, 24, 96, 336, rows=range(14_400), scale=0.7),
}
"""Those with a training part."""

TASKS: dict[str, Task] = {"memory": _memory, "exponents": _exponents, **WITH_DATA}
"""All of them."""
