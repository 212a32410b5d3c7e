"""What every method that prunes channels shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.gates import Gates
from microglia.methods.allotting import Propose
from microglia.methods.base import Pruner
from microglia.methods.parts.budget import cost_function
from microglia.methods.parts.clock import channels_for_time
from microglia.methods.parts.prunable import named, prunable_groups
from microglia.methods.parts.scores import open_filters
from microglia.methods.parts.traffic import Traffic
from microglia.structure import Keep, Structure
from microglia.surgery import cut


class ChannelPruner(Pruner):
    """Closes and opens channels; `compact()` takes the closed ones out for good.

    Args:
        protect: layers left alone (shell patterns such as "layer4.*").
        residual: "tied" prunes residual streams as one group, "inner" leaves them alone.
        linear: hidden linear and recurrent layers are pruned too, not only convolutions.
        penalty: rate of an L1 term on the filters of open channels.
        The others: see `Pruner`; groups are those of `structure`.

    Raises:
        ConfigError: a setting out of range, an unknown layer, or nothing left to prune.
        StructureError: the network can't be analysed.
    """

    prunes: ClassVar[Literal["channels", "weights"]] = "channels"
    masks: Gates

    def __init__(
        self,
        model: nn.Module,
        *,
        protect: Sequence[str] = (),
        residual: Literal["tied", "inner"] = "tied",
        linear: bool = False,
        penalty: float = 0.0,
        **settings: Any,
    ) -> None:
        self._check_settings(settings)
        _check(residual=residual, rate=penalty)
        super().__init__(model, **settings)
        self.rate = penalty
        found = prunable_groups(
            self._whole, protect, residual=residual, linear=linear, method=self.name
        )
        if isinstance(self.budget.sparsity, Mapping):
            names = named([g.name for g in found.groups], self.budget.sparsity, unit="group")
            found = found.only(g for g in found.groups if g.name in names)
        self.structure = found
        self._rows: tuple[int, list[tuple[str, int, Tensor]]] | None = None
        self._attach(Gates(model, self.structure))
        if self.budget.target is not None and "synops" in self.budget.target:
            self._parts["traffic"] = Traffic(model, self.structure)

    def penalty(self) -> Tensor:
        """What the method adds to the loss: rate * sum |w| over what open channels own.

        Closed channels keep their weights: nothing else trains these, so that the penalty alone
        would wear them down, and with them what regrowth could bring back.
        """
        self._check_attached()
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        total = torch.zeros((), device=device)
        if self.rate:
            for name, axis, rows in self._owned():
                weight = self.model.get_parameter(name)
                total = total + weight.index_select(axis, rows).abs().sum()
        return self.rate * total

    def _owned(self) -> list[tuple[str, int, Tensor]]:
        """What the L1 term is on, found again when the masks change."""
        if self._rows is None or self._rows[0] != self.masks.version:
            self._rows = self.masks.version, self._penalised(self.masks.keep())
        return self._rows[1]

    def _penalised(self, keep: Keep) -> list[tuple[str, int, Tensor]]:
        """The parameters that the L1 term is on: name, axis of the channels, which are open."""
        return open_filters(self.model, self.structure, keep)

    def sizes(self) -> dict[str, int]:
        return {g.name: g.size for g in self.structure.groups}

    def _cost(self, quantity: str, density: Mapping[str, Tensor]) -> Callable[[Keep], float]:
        return cost_function(quantity, self.structure, density=density)

    def _timed(self, propose: Propose, *, fraction: float, least: int, most: int) -> int:
        return channels_for_time(
            propose,
            lambda keep: cut(self.model, self.structure, keep)[0],
            cut(self.model, self.structure, {})[0],
            example_input=self.example_input,
            fraction=fraction,
            least=least,
            most=most,
        )

    def _removable(self) -> tuple[Structure, Keep]:
        return self.structure, self._open()

    def _before(self) -> None:
        """Gates act while the network runs."""

    def _after(self) -> None:
        """Closed channels keep their weights."""


def _check(*, residual: str, rate: float) -> None:
    if residual not in ("tied", "inner"):
        known = ["tied", "inner"]
        raise ConfigError(f"residual can't be {residual!r}.{nearest(str(residual), known)}")
    if not isinstance(rate, (int, float)) or rate < 0:
        raise ConfigError(f"penalty is the rate of the L1 term, at least 0; got {rate!r}")
