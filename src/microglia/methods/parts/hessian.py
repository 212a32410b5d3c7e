"""How much does a layer's current into its neurons move with its weights? Hessians from spikes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.frameworks import Hook, first_tensor, neuron_kind
from microglia.structure import Structure, output_axis

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class SpikeHessian:
    """H = E[2 (MX)ᵀ (MX)] of each weight, X the inputs that each of its outputs sees.

        (MX)_t = λ (MX)_{t−1} + X_t        λ: what the neuron that is driven keeps of its potential

    the paper's M but for its factor 1/τ, which changes no ranking and no update. The mean is over
    samples, timesteps and places. Where no neuron is driven, or its λ isn't known, or it can't be
    told which calls of the layer are its timesteps (a layer at two places), M is the identity.

    H is [groups, d, d] in float64, with d the weights of an output, as in `as_rows`. Call `close`
    after each batch.

    Args:
        weights: by name, which; weights of other modules than linear layers and convolutions see
            nothing.
    """

    def __init__(self, model: nn.Module, structure: Structure, weights: Sequence[str]) -> None:
        self.samples = 0
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}
        self._layers: dict[str, tuple[str, nn.Module, list[Tensor]]] = {}
        self._neurons: dict[str, tuple[nn.Module, list[torch.Size]]] = {
            name: (model.get_submodule(name), []) for name in structure.neurons
        }
        self._driven = _driven(structure)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        for weight in weights:
            for name in next(names for names in structure.leaves if weight in names):
                layer = model.get_submodule(name.rpartition(".")[0])
                if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
                    calls: list[Tensor] = []
                    self._layers[name] = (weight, layer, calls)
                    self._handles.append(layer.register_forward_pre_hook(_Keep(calls)))
        for module, shapes in self._neurons.values():
            self._handles.append(module.register_forward_pre_hook(_Shape(shapes)))

    def close(self) -> None:
        """A batch is over: add it."""
        for name, (weight, layer, calls) in self._layers.items():
            for current in self._currents(name.rpartition(".")[0], layer, calls):
                x = patches(layer, current).to(torch.float64)
                products = 2 * torch.einsum("ngd,nge->gde", x, x)
                self.sums[weight] = (
                    self.sums[weight] + products if weight in self.sums else products
                )
                self.rows[weight] = self.rows.get(weight, 0) + len(x)
            calls.clear()
        for number, (module, shapes) in enumerate(self._neurons.values()):
            if number == 0 and shapes:
                self.samples += shapes[0][_is_multi_step(module)]
            shapes.clear()

    def mean(self) -> dict[str, Tensor]:
        """H of every weight whose layer has run."""
        found = {}
        for weight, total in self.sums.items():
            rows = torch.tensor(float(self.rows[weight]), device=total.device)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(total)
                dist.all_reduce(rows)
            found[weight] = total / rows
        return found

    def remove(self) -> None:
        """Take the hooks out of the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _currents(self, name: str, layer: nn.Module, calls: list[Tensor]) -> Iterator[Tensor]:
        """The inputs as the driven potential holds them, timestep by timestep."""
        steps, decay = calls, 0.0
        if (neuron := self._driven.get(name)) in self._neurons:
            module, shapes = self._neurons[neuron]
            kind = neuron_kind(module)
            known = kind.decay(module) if kind is not None else None
            found = _timesteps(layer, calls, shapes, multi_step=_is_multi_step(module))
            if known is not None and found is not None:
                steps, decay = found, known
        held: Tensor | None = None
        for x in steps:
            held = x if held is None or not decay else decay * held + x
            yield held


def patches(layer: nn.Module, x: Tensor) -> Tensor:
    """What the outputs of a layer see of an input at each place, `[places, groups, d]`."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, 1, layer.in_features)
    assert isinstance(layer, nn.modules.conv._ConvNd)
    kernel, channels = layer.kernel_size, layer.in_channels
    size, space = torch.Size(kernel).numel(), len(kernel)
    x = x.reshape(-1, *x.shape[-1 - space :])
    each = torch.eye(size, dtype=x.dtype, device=x.device)  # a filter for each place of the kernel
    if layer.transposed:
        filters = each.reshape(1, size, *kernel).repeat(channels, *[1] * (space + 1))
        seen = _CONV_TRANSPOSE[space](
            x,
            filters,
            stride=layer.stride,
            padding=layer.padding,  # type: ignore[arg-type]  # never a word in a transposed one
            output_padding=layer.output_padding,
            groups=channels,
            dilation=layer.dilation,
        )
    else:
        filters = each.reshape(size, 1, *kernel).repeat(channels, *[1] * (space + 1))
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
        seen = _CONV[space](
            x, filters, stride=layer.stride, groups=channels, dilation=layer.dilation
        )
    seen = seen.reshape(len(x), layer.groups, channels // layer.groups * size, -1)
    return seen.permute(0, 3, 1, 2).flatten(0, 1)


def as_rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """The weights of each output, `[groups, outputs, d]`."""
    groups = getattr(layer, "groups", 1)
    if output_axis(layer) == 1:
        inputs, outputs = weight.shape[0] // groups, weight.shape[1]
        weight = weight.reshape(groups, inputs, outputs, -1).transpose(1, 2)
        return weight.reshape(groups, outputs, -1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def from_rows(layer: nn.Module, rows: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight tensor of this shape again."""
    if output_axis(layer) == 1:
        groups, outputs, inputs = rows.shape[0], shape[1], shape[0] // rows.shape[0]
        rows = rows.reshape(groups, outputs, inputs, -1).transpose(1, 2)
    return rows.reshape(tuple(shape))


def _driven(structure: Structure) -> dict[str, str]:
    """The first neuron that each layer drives."""
    found: dict[str, str] = {}
    for group in structure.groups:
        for layer in group.layers:
            if group.neurons:
                found.setdefault(layer, group.neurons[0].module)
    return found


def _is_multi_step(module: nn.Module) -> bool:
    kind = neuron_kind(module)
    return kind is not None and kind.multi_step(module)


def _timesteps(
    layer: nn.Module, calls: list[Tensor], shapes: list[torch.Size], *, multi_step: bool
) -> list[Tensor] | None:
    """A layer's inputs over time, beside those of the neuron that it drives; None if unclear."""
    if not multi_step:
        return calls if len(calls) == len(shapes) else None
    if len(calls) != 1 or len(shapes) != 1:
        return None
    (x,), (steps, samples) = calls, shapes[0][:2]
    features = 1 if isinstance(layer, nn.Linear) else 1 + len(layer.kernel_size)  # type: ignore[arg-type]
    if x.dim() > features + 1 and x.shape[:2] == (steps, samples):
        return list(x.unbind(0))
    if x.dim() == features + 1 and len(x) == steps * samples:
        return list(x.unflatten(0, (steps, samples)).unbind(0))
    return None


class _Keep(Hook):
    def __init__(self, calls: list[Tensor]) -> None:
        self.calls = calls

    def __call__(self, module: nn.Module, args: Any) -> None:
        self.calls.append(first_tensor(args).detach().clone())  # others may write into it later


class _Shape(Hook):
    def __init__(self, shapes: list[torch.Size]) -> None:
        self.shapes = shapes

    def __call__(self, module: nn.Module, args: Any) -> None:
        self.shapes.append(first_tensor(args).shape)
