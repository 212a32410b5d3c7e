"""Put removed channels back into a compacted network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from microglia.errors import ConfigError, nearest
from microglia.structure import Group, Structure, output_axis
from microglia.surgery.compact import Compact
from microglia.surgery.cut import cut, tensor_at
from microglia.surgery.draws import generator_of
from microglia.surgery.ledger import Ledger, put
from microglia.surgery.optimizers import carry_optimizer

REGROWN = 0x7267  # sets the seeds of fresh weights apart from all others


def regrow(
    model: nn.Module,
    ledger: Ledger,
    *,
    channels: Mapping[str, Sequence[int]],
    weights: Literal["remembered", "fresh"] = "remembered",
    optimizer: Optimizer | None = None,
    seed: int = 0,
) -> Compact:
    """A wider copy of a compacted network, with some removed channels back.

    Channels that are there keep their weights, and the optimizer its state for them; what comes
    back starts with zero momentum.

    Args:
        model: the compacted network, perhaps trained since.
        ledger: of its compaction.
        channels: group -> original ids to bring back.
        weights: "remembered" brings a channel back as it was when it was removed. "fresh" draws
            its incoming weights at the spread of those that its layer has, sets its norm to
            scale 1, shift 0, and its outgoing weights to zero, so that the network computes at
            first what it did (RigL starts new connections at zero for the same reason).
        optimizer: of the compacted network.
        seed: of the fresh weights.

    Raises:
        ConfigError: an unknown group, or an id that was never removed.
    """
    keep = {name: mask.clone() for name, mask in ledger.keep.items()}
    for name, ids in channels.items():
        if name not in keep:
            raise ConfigError(f"the ledger has no group '{name}'.{nearest(name, list(keep))}")
        for i in ids:
            if not 0 <= i < keep[name].numel() or bool(keep[name][i]):
                raise ConfigError(
                    f"{name}: channel {i} can't be regrown; removed are {ledger.removed()[name]}"
                )
            keep[name][i] = True
    wide = ledger.widened(model)
    if weights == "fresh":
        _freshen(wide, ledger.structure, channels, ledger.keep, seed)
    elif weights != "remembered":
        raise ConfigError(f"weights must be 'remembered' or 'fresh', got '{weights}'")
    grown, sizes = cut(wide, ledger.structure, keep)
    return Compact(
        model=grown,
        certificate=None,
        ledger=Ledger(ledger.structure, keep, wide),
        sizes=sizes,
        optimizer=_carry(optimizer, model, grown, ledger, keep) if optimizer else None,
    )


def _carry(
    optimizer: Optimizer,
    model: nn.Module,
    grown: nn.Module,
    ledger: Ledger,
    keep: Mapping[str, Tensor],
) -> Optimizer:
    structure = ledger.structure
    old, new = structure.positions(ledger.keep), structure.positions(keep)
    leaf_of = {name: i for i, names in enumerate(structure.leaves) for name in names}

    def reshape(name: str, value: Tensor) -> Tensor:
        leaf = leaf_of[name]
        was = {d: p for (i, d), p in old.items() if i == leaf}
        full = value.new_zeros(structure.shapes[leaf])
        put(full, was, value)
        for (i, d), p in new.items():
            if i == leaf:
                full = full.index_select(d, p.to(full.device))
        return full

    return carry_optimizer(optimizer, model, grown, reshape)


def _freshen(
    wide: nn.Module,
    structure: Structure,
    channels: Mapping[str, Sequence[int]],
    before: Mapping[str, Tensor],
    seed: int,
) -> None:
    generator = generator_of(seed, REGROWN)
    weights = {f"{use.layer}.weight" for use in structure.uses}
    with torch.no_grad():
        for name, ids in channels.items():
            group = structure[name]
            for cut_ in group.cuts:
                tensor = tensor_at(wide, structure.leaves[cut_.leaf][0])
                rows = torch.isin(cut_.channel, torch.tensor(list(ids))).nonzero().flatten()
                layer = structure.leaves[cut_.leaf][0].rpartition(".")[0]
                _fill(
                    tensor,
                    rows.to(tensor.device),
                    cut_.dim,
                    output_axis(wide.get_submodule(layer)),
                    structure.leaves[cut_.leaf],
                    weights,
                    group,
                    before[name],
                    generator,
                )


def _fill(
    tensor: Tensor,
    rows: Tensor,
    dim: int,
    filters: int,
    names: tuple[str, ...],
    weights: set[str],
    group: Group,
    alive: Tensor,
    generator: torch.Generator,
) -> None:
    """Fresh values for the positions of new channels along one dimension of one tensor."""
    name = names[0]
    if set(names) & weights:
        layer = name.rpartition(".")[0]
        incoming = dim == filters and layer in group.layers
        shape = tensor.index_select(dim, rows).shape
        if incoming:
            spread = float(tensor.std()) if tensor.numel() > 1 else 1.0
            fresh = torch.randn(shape, generator=generator) * spread
            tensor.index_copy_(dim, rows, fresh.to(tensor))
        else:
            tensor.index_fill_(dim, rows, 0.0)
    elif name.rpartition(".")[2] in ("bias", "running_mean"):
        tensor.index_fill_(dim, rows, 0.0)
    elif name.rpartition(".")[0] in group.norms and tensor.is_floating_point():
        tensor.index_fill_(dim, rows, 1.0)
    # Per-neuron parameters come back as they were: they are the modeller's choice, not learned
    # from nothing.
