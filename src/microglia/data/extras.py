"""Optional packages, imported when a source of data needs them."""

from importlib import import_module
from types import ModuleType

from microglia.errors import DataError


def require(module: str, *, to: str, extra: str = "data") -> ModuleType:
    """Import ``module``, or raise DataError naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as missing:
        raise DataError(
            f"{module.split('.')[0]} is needed to {to} and is not installed: "
            f"pip install 'microglia[{extra}]'"
        ) from missing
