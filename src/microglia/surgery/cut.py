"""Cut the channels that a mask closes out of a copy of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from microglia.frameworks import NEURON_MASK, bare_copy, neuron_masks, reset, resize
from microglia.structure import Keep, Structure
from microglia.surgery.certificate import kept_positions, selected

Sizes = dict[str, dict[str, int]]
"""Module -> attribute -> value: the sizes that modules keep beside their weights."""


def cut(model: nn.Module, structure: Structure, keep: Keep) -> tuple[nn.Module, Sizes]:
    """A smaller copy of the network, and the sizes that changed in its modules.

    Every tensor of a removed channel goes: weights, biases, norm statistics, per-neuron
    parameters. Neuron states start afresh. The network itself is untouched.

    Raises:
        ConfigError: the mask fits no group, or would empty one.
    """
    structure.validate(keep)
    small = bare_copy(model)
    positions = structure.positions(keep)
    with torch.no_grad():
        for leaf, names in enumerate(structure.leaves):
            cuts = {d: p for (i, d), p in positions.items() if i == leaf}
            if cuts:
                replace_tensor(small, names, narrowed(tensor_at(small, names[0]), cuts))
    sizes = _sizes(small, structure, positions)
    set_sizes(small, sizes)
    for name, mask in neuron_masks(small).items():
        kept = kept_positions(structure, keep, name, mask.shape)
        small.get_submodule(name)._buffers[NEURON_MASK] = selected(mask, kept).clone()
    reset(small)
    return small, sizes


def narrowed(tensor: Tensor, cuts: Mapping[int, Tensor]) -> Tensor:
    """The chosen positions of a tensor along some of its dimensions."""
    for dim, positions in cuts.items():
        tensor = tensor.index_select(dim, positions.to(tensor.device))
    return tensor


def tensor_at(model: nn.Module, name: str) -> Tensor:
    """The parameter, buffer or tensor attribute of that name."""
    prefix, _, attribute = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(prefix), attribute)
    return tensor


def replace_tensor(model: nn.Module, names: tuple[str, ...], value: Tensor) -> None:
    """Put another tensor in the place of one, under all its names (tied weights stay tied)."""
    old = tensor_at(model, names[0])
    new: Tensor = value.detach()
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    for name in names:
        prefix, _, attribute = name.rpartition(".")
        module = model.get_submodule(prefix)
        if attribute in module._parameters and isinstance(new, nn.Parameter):
            module._parameters[attribute] = new
        elif attribute in module._buffers:
            module._buffers[attribute] = new
        else:
            vars(module)[attribute] = new


def set_sizes(model: nn.Module, sizes: Mapping[str, Mapping[str, int]]) -> None:
    """Bring the sizes that modules keep beside their weights up to date."""
    for name, attributes in sizes.items():
        module = model.get_submodule(name)
        for attribute, value in attributes.items():
            setattr(module, attribute, value)


def _sizes(
    model: nn.Module, structure: Structure, positions: Mapping[tuple[int, int], Tensor]
) -> Sizes:
    leaf_of = {name: i for i, names in enumerate(structure.leaves) for name in names}
    sizes: Sizes = {}
    for name, module in model.named_modules():

        def kept(tensor: str, dim: int, prefix: str = name) -> Tensor | None:
            leaf = leaf_of.get(f"{prefix}.{tensor}" if prefix else tensor)
            return None if leaf is None else positions.get((leaf, dim))

        wanted: dict[str, int] = own_sizes(module) | resize(module, kept)
        changed = {k: v for k, v in wanted.items() if getattr(module, k) != v}
        if changed:
            sizes[name] = changed
    return sizes


def own_sizes(module: Any) -> dict[str, int]:
    """The sizes of PyTorch's own layers, read off their tensors."""
    if isinstance(module, nn.modules.conv._ConvNd):
        rows, columns = module.weight.shape[:2]
        if module.transposed:
            return {"in_channels": rows, "out_channels": columns * module.groups}
        groups = module.groups
        if groups > 1 and groups == module.in_channels:  # depthwise: as many groups as inputs
            groups = rows // (module.out_channels // module.groups)
        return {"out_channels": rows, "in_channels": columns * groups, "groups": groups}
    if isinstance(module, nn.Linear):
        return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        for tensor in (module.weight, module.running_mean):
            if tensor is not None:
                return {"num_features": tensor.shape[0]}
    return {}
