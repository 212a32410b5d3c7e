"""What a pruner asks of the masks in a network, whatever they mask."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from microglia.structure import Keep


class Masks(Protocol):
    """Boolean masks `[size]` by name, that live in the network's buffers."""

    @property
    def attached(self) -> bool:
        """Whether they are in the network still."""

    def keep(self) -> dict[str, Tensor]:
        """What is open, on the CPU."""

    def set(self, keep: Keep) -> None:
        """Open and close; names that are not given stay as they are."""

    def remove(self) -> None:
        """Leave the network as it came."""
