"""Which rows of a set are meant."""

from typing import TypeAlias

from microglia.errors import ConfigError, is_whole

Rows: TypeAlias = range | tuple[int, int]
"""A range, or (first, end) as config files have it."""


def as_range(rows: Rows | None, *, setting: str) -> range | None:
    """Rows as a range. Raises ConfigError for what is neither of `Rows`."""
    if rows is None or isinstance(rows, range):
        return rows
    if isinstance(rows, (tuple, list)) and len(rows) == 2 and all(map(is_whole, rows)):
        return range(*map(int, rows))
    raise ConfigError(f"{setting}: wanted range(first, end) or (first, end), got {rows!r}")
