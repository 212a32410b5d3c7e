"""Values that a method carries from update to update, as part of its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Memory:
    """Tensors by name."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.tensors[name] = value

    def collect(self) -> None:
        """They change at updates."""

    def skip(self) -> None:
        """No step, no update."""

    def clear(self) -> None:
        """They are not sums."""

    def state_dict(self) -> dict[str, Any]:
        """The tensors."""
        return {name: value.clone() for name, value in self.tensors.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.tensors = {name: value.clone() for name, value in state.items()}

    def remove(self) -> None:
        """The network holds nothing of it."""
