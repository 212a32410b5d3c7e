"""What a method watches a network with."""

from __future__ import annotations

from typing import Any, Protocol


class Part(Protocol):
    """Something a method watches the network with; its sums belong to the method's state."""

    def collect(self) -> None:
        """An optimizer step was taken; gradients are still there."""

    def skip(self) -> None:
        """No optimizer step was taken: batches accumulate, or a GradScaler saw an overflow."""

    def clear(self) -> None:
        """Start afresh."""

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""

    def remove(self) -> None:
        """Take the hooks out of the network."""
