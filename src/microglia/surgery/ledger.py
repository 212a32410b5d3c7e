"""What was removed, so that it can be named and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microglia.frameworks import bare_copy
from microglia.structure import Keep, Structure
from microglia.surgery.cut import replace_tensor, tensor_at


@dataclass(frozen=True)
class Ledger:
    """The original channels of a network, and which of them are left.

    Channel ids are those of the network before its first cut, for good.
    """

    structure: Structure
    keep: Mapping[str, Tensor]
    """The channels left, over the original ids: boolean `[size]` for each group."""
    dense: nn.Module
    """The network at its original width, with the weights that its channels had last."""

    @staticmethod
    def open(model: nn.Module, structure: Structure) -> Ledger:
        """A ledger in which nothing has been removed yet; it looks at the network itself."""
        return Ledger(structure, structure.everything(), model)

    def ids(self) -> dict[str, list[int]]:
        """The original ids of the channels left in each group."""
        return {name: mask.nonzero().flatten().tolist() for name, mask in self.keep.items()}

    def removed(self) -> dict[str, list[int]]:
        """The original ids of the channels removed from each group."""
        return {name: (~mask).nonzero().flatten().tolist() for name, mask in self.keep.items()}

    def after(self, model: nn.Module, keep: Keep) -> Ledger:
        """The ledger once `keep` (over the channels of `model`, as it is now) has been cut.

        The weights that the channels have now are remembered.
        """
        total = {name: mask.clone() for name, mask in self.keep.items()}
        for name, mask in keep.items():
            if name in total:
                left = total[name].nonzero().flatten()
                total[name][left[~mask.cpu()]] = False
        return Ledger(self.structure, total, self.widened(model))

    def widened(self, model: nn.Module) -> nn.Module:
        """The network at its original width, channels that are left as they are in `model`."""
        wide = bare_copy(self.dense)
        positions = self.structure.positions(self.keep)
        with torch.no_grad():
            for leaf, names in enumerate(self.structure.leaves):
                full = tensor_at(wide, names[0]).detach().clone()
                part = tensor_at(model, names[0]).detach()
                cuts = {d: p for (i, d), p in positions.items() if i == leaf}
                if part.shape == full.shape and not cuts:
                    full = part.clone()
                elif cuts:
                    put(full, cuts, part)
                else:
                    continue  # a neuron's state, of whatever batch came last
                replace_tensor(wide, names, full)
        return wide

    def to_dict(self) -> dict[str, Any]:
        """Original widths and the ids left, as plain values for JSON."""
        return {
            name: {"original": int(mask.numel()), "kept": mask.nonzero().flatten().tolist()}
            for name, mask in self.keep.items()
        }


def put(full: Tensor, cuts: Mapping[int, Tensor], part: Tensor) -> None:
    """Write a narrowed tensor back to the positions it was cut from."""
    index = []
    for d, n in enumerate(full.shape):
        positions = cuts[d].to(full.device) if d in cuts else torch.arange(n, device=full.device)
        index.append(positions.reshape([-1 if i == d else 1 for i in range(full.dim())]))
    full[tuple(index)] = part.to(full.device, full.dtype)
