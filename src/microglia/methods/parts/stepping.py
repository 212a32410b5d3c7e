"""What is done before and after each step of an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class Stepping:
    """Calls `before`, when gradients are there, and `after` around each step of an optimizer."""

    def __init__(
        self, optimizer: Optimizer, *, before: Callable[[], None], after: Callable[[], None]
    ) -> None:
        self._before, self._after = before, after
        self._handles = [
            optimizer.register_step_pre_hook(self._stepping),
            optimizer.register_step_post_hook(self._stepped),
        ]

    def _stepping(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._before()
            return None

        def then() -> Any:  # Lightning runs the network within the step: gradients come later
            loss = closure()
            self._before()
            return loss

        return args[:1], {**kwargs, "closure": then}

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._after()

    def remove(self) -> None:
        """Take the hooks out of the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
