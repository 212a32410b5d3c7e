"""The values behind a network's weights, as part of a method's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from microglia.structure import Keep


class Hidden:
    """θ of each weight, by its name, and the masks that were last told of."""

    def __init__(self, theta: Mapping[str, Tensor], reported: Keep) -> None:
        self.theta = dict(theta)
        self.reported = dict(reported)

    def collect(self) -> None:
        """θ walks in the optimizer's steps."""

    def skip(self) -> None:
        """No step, no walk."""

    def clear(self) -> None:
        """θ is not a sum."""

    def state_dict(self) -> dict[str, Any]:
        """Both."""
        return {
            "theta": {name: theta.clone() for name, theta in self.theta.items()},
            "reported": dict(self.reported),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.theta = {name: theta.clone() for name, theta in state["theta"].items()}
        self.reported = dict(state["reported"])

    def remove(self) -> None:
        """The network holds nothing of it."""
