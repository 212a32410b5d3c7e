"""What only the extra `lyapunov` brings."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from microglia.errors import ConfigError


def extra(module: str, *, to: str) -> Any:
    """A module that stands on Numba or NetworKit, or the line that installs them."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{to} needs {error.name}, which is not installed. Run: "
            "pip install 'microglia[lyapunov]'"
        ) from error
