"""What splits are called, by us and by others."""

from collections.abc import Collection

from microglia.errors import ConfigError, DataError, nearest

SPLITS = ("train", "validation", "test")
VALIDATION = ("validation", "valid", "val")
HOLD_OUT = (
    "take validation images from the training rows: validation_rows=range(first, end) or "
    "validation_share=0.1 of load_splits, data.validation_rows = [first, end] or "
    "data.validation_share = 0.1 in a config"
)


def check_split(split: str) -> None:
    """Raises ConfigError where ``split`` is not one of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(f"split: '{split}' is unknown.{nearest(split, list(SPLITS))}")


def choose_split(split: str, available: Collection[str], *, source: str) -> str:
    """The source's own name for ``split``.

    Where a source holds a validation part and no test part, the validation part is the test split,
    and never both: what a network is chosen on must not be what it is judged on.

    Raises DataError where the source doesn't have it.
    """
    held_out = next((name for name in VALIDATION if name in available), None)
    if split in available:
        found: str | None = split
    elif split == "test" or (split == "validation" and "test" in available):
        found = held_out
    else:
        found = None
    if split == "validation" and "test" not in available and held_out is not None:
        raise DataError(
            f"{source}: its '{held_out}' part serves as the test split, there is no other; "
            f"{HOLD_OUT}"
        )
    if found is None:
        raise DataError(
            f"{source}: no '{split}' split; it has {', '.join(sorted(available)) or 'none'}"
            f"{f'; {HOLD_OUT}' if split == 'validation' else ''}"
        )
    return found
