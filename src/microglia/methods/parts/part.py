"""What a method watches a network with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.hooks import RemovableHandle


class Part:
    """Something a method watches the network with; its sums belong to the method's state.

    By default it holds nothing, and nothing that happens concerns it.
    """

    _handles: Sequence[RemovableHandle] = ()
    """Of its hooks in the network."""

    def collect(self) -> None:
        """An optimizer step was taken; gradients are still there."""

    def skip(self) -> None:
        """No optimizer step was taken: batches accumulate, or a GradScaler saw an overflow."""

    def settle(self) -> None:
        """From now on the method's masks stand still."""

    def clear(self) -> None:
        """Start afresh."""

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""

    def remove(self) -> None:
        """Take the hooks out of the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = ()
