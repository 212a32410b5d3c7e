"""Time series from CSV files, scaled on their training part and cut into windows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microglia.data.extras import require
from microglia.data.load import find_source
from microglia.errors import ConfigError, DataError, nearest


@dataclass(frozen=True, eq=False)
class Series:
    """Values at equal steps of time: float32 [T, V], a column for each of the variables."""

    values: Tensor
    variables: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        return len(self.values)

    def split(self, *shares: float) -> tuple[Series, ...]:
        """Parts in the order of time, such as `split(0.7, 0.1, 0.2)` for train, validation, test.

        Raises ConfigError where the shares aren't positive or exceed one, DataError where a part
        would be empty.
        """
        if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise ConfigError(f"shares: wanted numbers above 0 that add up to 1, got {shares}")
        ends = [round(float(end) * len(self)) for end in np.cumsum(shares)]
        parts = []
        for begin, end in zip([0, *ends], ends, strict=False):
            if begin >= end:
                raise DataError(f"{self.source}: {len(self)} points are too few for {shares}")
            parts.append(replace(self, values=self.values[begin:end]))
        return tuple(parts)


@dataclass(frozen=True)
class Scale:
    """x -> (x − μ) / σ for each variable, with μ and σ of a training part."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def fitted(cls, training: Series) -> Scale:
        """The scale of a training part; of nothing else, or the test part would be known before.

        Raises DataError where a variable is constant.
        """
        deviation = training.values.std(0, correction=0)
        if (deviation == 0).any():
            name = training.variables[int((deviation == 0).nonzero()[0])]
            raise DataError(
                f"{training.source}: '{name}' is constant in the training part; leave it out with "
                "variables="
            )
        return cls(training.values.mean(0), deviation)

    def apply(self, series: Series) -> Series:
        return replace(series, values=(series.values - self.mean) / self.deviation)

    def undo(self, values: Tensor) -> Tensor:
        """Values [..., V] in the series' own units."""
        return values * self.deviation + self.mean


def read_series(
    source: str | Path,
    *,
    variables: Sequence[str] | None = None,
    time: str | None = None,
    time_format: str | None = None,
    rows: range | None = None,
) -> Series:
    """Read a CSV file with a header; a relative path is looked for in $MICROGLIA_DATA too.

    Args:
        variables: columns to take; None: all but that of the time.
        time: the column of the time, which must rise in equal steps; None: the first column where
            it is called date, time or month, and the rows are taken to be at equal steps where
            there is none.
        time_format: such as "%Y%m%d%H", where it can't be told.
        rows: part of the file.

    Raises:
        DataError: no such file or column, a value that is missing or no number, a gap in time; with
            the column and the row, and what to do.
    """
    pandas = require("pandas", to="read CSV files")
    path = find_source(str(source))
    try:
        with warnings.catch_warnings():
            # Rows longer than the header are only warned of; the values beyond it would be lost.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            table = pandas.read_csv(path, index_col=False)
    except (OSError, ValueError, pandas.errors.ParserWarning) as fault:
        raise DataError(f"{path.name}: not a CSV table ({fault})") from fault
    if all(_is_number(str(column)) for column in table.columns):
        raise DataError(f"{path.name}: its first row holds numbers; wanted the columns' names")
    first = 0
    if rows is not None:
        if len(rows) == 0 or min(rows) < 0 or max(rows) >= len(table) or rows.step != 1:
            raise DataError(f"{path.name}: rows {rows} leave 0 to {len(table) - 1}")
        table, first = table.iloc[rows.start : rows.stop], rows.start
    columns = [str(c) for c in table.columns]
    table.columns = columns
    if time is None and columns[0].lower() in ("date", "time", "month", "datetime"):
        time = columns[0]
    names = list(variables) if variables is not None else [c for c in columns if c != time]
    for name in [*names, *([time] if time else [])]:
        if name not in columns:
            raise DataError(f"{path.name}: no column '{name}'.{nearest(name, columns)}")
    if not len(table) or not names:
        raise DataError(f"{path.name}: no values")
    if time is not None:
        _check_steps(pandas, table[time], time_format, path.name, first)
    parts = [_numbers(pandas, table[name], path.name, first) for name in names]
    values = torch.from_numpy(np.stack(parts, axis=1).astype(np.float32))
    return Series(values, tuple(names), path.name)


def windows(series: Series, *, length: int, horizon: int, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs [N, length, V] and what follows each, [N, horizon, V], begun every `stride` steps.

    Raises ConfigError for settings below 1, DataError where the series is too short.
    """
    for name, value in (("length", length), ("horizon", horizon), ("stride", stride)):
        if value < 1:
            raise ConfigError(f"{name}: at least 1 step expected, got {value}")
    if len(series) < length + horizon:
        raise DataError(
            f"{series.source}: {len(series)} points are too few for windows of {length} and a "
            f"horizon of {horizon}"
        )
    whole = series.values.unfold(0, length + horizon, stride).transpose(1, 2)
    return whole[:, :length], whole[:, length:]


def _numbers(pandas: Any, column: Any, source: str, first: int) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pandas.to_numeric(column, errors="coerce").to_numpy(float)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        value = column.iloc[row]
        raise DataError(
            f"{source}: column '{column.name}', row {first + row} holds '{value}', no number "
            f"({int(wrong.sum())} such values). Leave the column out with variables=, or take rows "
            "without them with rows="
        )
    return numbers


def _check_steps(
    pandas: Any, column: Any, time_format: str | None, source: str, first: int
) -> None:
    """Refuse gaps: months and years count as equal steps."""
    text = column.astype(str)
    if time_format is None and pandas.api.types.is_float_dtype(column):
        steps = np.diff(column.to_numpy(np.float64))
    elif time_format is None and pandas.api.types.is_integer_dtype(column) and not _hours(text):
        steps = np.diff(column.to_numpy(np.int64)).astype(np.float64)
    else:
        steps = _steps_of_dates(pandas, column, text, time_format, source)
    if not len(steps):
        return
    usual = float(np.median(steps))
    uneven = (steps <= 0) | (np.abs(steps - usual) > 0.2 * usual)  # a month is 28 to 31 days
    if uneven.any():
        row = int(uneven.argmax())
        raise DataError(
            f"{source}: a gap in '{column.name}' between rows {first + row} ({text.iloc[row]}) and "
            f"{first + row + 1} ({text.iloc[row + 1]}), {int(uneven.sum())} in all. Take a part "
            f"without one, such as rows=range({first}, {first + row + 1})"
        )


def _hours(text: Any) -> bool:
    """Whether times are written as 2012010100."""
    return bool(text.str.fullmatch(r"\d{10}").all())


def _steps_of_dates(
    pandas: Any, column: Any, text: Any, time_format: str | None, source: str
) -> NDArray[np.float64]:
    """Nanoseconds between rows."""
    if time_format is None and _hours(text):
        time_format = "%Y%m%d%H"
    try:
        times = pandas.to_datetime(text, format=time_format)
    except ValueError as fault:
        raise DataError(
            f"{source}: column '{column.name}' holds no times ({fault}); give time_format="
        ) from fault
    steps: NDArray[np.float64] = np.diff(
        times.to_numpy().astype("datetime64[ns]").astype(np.int64)
    ).astype(np.float64)
    return steps


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
