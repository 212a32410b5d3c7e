"""What was given for a recurrent network: one, or a module that has one."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from microglia.errors import ConfigError
from microglia.frameworks.recurrent import RecurrentNetwork


def network_of(given: Any, *, to: str, dt: float = 1e-3) -> RecurrentNetwork:
    """The network itself, or the one that a torch module is.

    Raises:
        ConfigError: something else; `to` says what it was wanted for.
    """
    if isinstance(given, nn.Module):
        found: RecurrentNetwork = import_module("microglia.frameworks").recurrent_network(given, dt)
        return found
    if not isinstance(given, RecurrentNetwork):
        raise ConfigError(
            f"{to}: wanted a RecurrentNetwork or a torch module, got {type(given).__name__}"
        )
    return given
