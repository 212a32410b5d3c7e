"""The one family of errors that microglia raises on purpose.

Each message names the layer or setting, what was wanted, what came, and what to do.
The command line prints the message without a traceback and exits with ``exit_code``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real


class MicrogliaError(Exception):
    """Something the user can put right; the message says how."""

    exit_code = 1


class ConfigError(MicrogliaError, ValueError):
    """A setting is out of range, unknown, or clashes with another."""

    exit_code = 2


class StructureError(MicrogliaError):
    """The network holds something that the structure analysis will not guess about."""

    exit_code = 3


class CertificateError(MicrogliaError):
    """The compacted network does not compute what the masked one computes."""

    exit_code = 4


class DataError(MicrogliaError):
    """A file or data set is missing, damaged, or not what was asked for."""

    exit_code = 5


class TrainingError(MicrogliaError):
    """Training broke down: a loss that is not a number, a missing device, no memory."""

    exit_code = 6


def nearest(word: str, known: list[str]) -> str:
    """The hint ' Did you mean ...?' for a mistyped name, or the list of known names."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(sorted(known))}."


def is_number(value: object) -> bool:
    """Whether a setting is a real number, NumPy's too; a bool or text is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether a setting is an integer; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


# PyTorch's CPU allocator and CUDA's libraries raise a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether this is what Python, PyTorch or CUDA raise where there is no memory left."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError)


@contextmanager
def memory_for(what: str, *, lower: str) -> Iterator[None]:
    """Inside the block running out of memory is a TrainingError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(f"Out of memory {what}. Lower {lower}.") from error
