"""Which connections masks of neurons leave: those from and to positions that aren't closed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from microglia.frameworks import first_tensor, fresh_copy, neuron_masks, reset, spiking_neurons
from microglia.metrics.forward import Forward, device_of, to_device
from microglia.metrics.synapses import SynapseLayer, space_axes

Openings = dict[str, tuple[Tensor, Tensor]]
"""Layer -> the inputs [C_in, *space] that may be non-zero, and the outputs [C_out, *space] that an
open neuron, or a reader that is none, gets to see; both boolean."""


def openings(model: nn.Module, inputs: Any, forward: Forward) -> Openings:
    """What a network's masks of neurons leave of each layer's map; empty where there are none.

    A copy runs once with every open neuron active, which shows the inputs. Each layer's output is a
    variable of its own in that run, whose gradient shows who sees it. Where anybody sees it in
    another shape, as pooled, all of it counts as seen: of a pool's ties only one has a gradient.
    """
    masks = neuron_masks(model)
    if not masks or inputs is None:
        return {}
    inputs = tree_map(lambda x: torch.ones_like(x) if isinstance(x, Tensor) else x, inputs)
    inputs = to_device(inputs, device_of(model))
    run = _Run(fresh_copy(model).eval())
    with torch.enable_grad():
        outputs = tree_leaves(forward(run.model, inputs))
        run.seen += [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
        return run.result()


class _Run:
    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen: list[Tensor] = []
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        reset(model)
        masks = neuron_masks(model)
        neurons = spiking_neurons(model)
        for name, module in model.named_modules():
            if name in neurons:
                module.register_forward_hook(self._neuron(masks.get(name)))
            elif isinstance(module, SynapseLayer):
                module.register_forward_hook(self._layer(name), with_kwargs=True)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
                nn.init.ones_(module.weight)  # a scale of 0 would hide who sees the output

    def _neuron(self, mask: Tensor | None) -> Any:
        def hook(neuron: nn.Module, args: Any, output: Any) -> Any:
            current, spikes = first_tensor(args), first_tensor(output).detach()
            open_ = 1.0 if mask is None else mask.to(current)
            if current.requires_grad:
                self.seen.append(current * open_)
            # Uneven numbers, for 1 - 1 would be as silent as a closed neuron.
            spikes = (0.1 + 0.8 * torch.rand_like(spikes)) * open_
            return spikes if isinstance(output, Tensor) else (spikes, *output[1:])

        return hook

    def _layer(self, name: str) -> Any:
        def hook(layer: Any, args: Any, kwargs: dict[str, Any], output: Tensor) -> Tensor:
            x, axes = first_tensor((*args, *kwargs.values())), space_axes(layer)
            if x.requires_grad:  # of a layer before, with no neuron in between
                self.seen.append(x)
            shape = x.shape[x.dim() - axes - 1 :]
            met = (x.detach() != 0).reshape(-1, *shape).any(0)
            self.inputs[name] = self.inputs.get(name, torch.zeros_like(met)) | met
            if name not in self.outputs:
                ones = output.detach().new_ones(output.shape[output.dim() - axes - 1 :])
                self.outputs[name] = ones.requires_grad_()
            return self.outputs[name].expand_as(output).clone()

        return hook

    def result(self) -> Openings:
        found: Openings = {}
        for name, met in self.inputs.items():
            y = self.outputs[name]
            same = [x for x in self.seen if x.shape[x.dim() - y.dim() :] == y.shape]
            others = [x for x in self.seen if x.shape[x.dim() - y.dim() :] != y.shape]
            seen = self._reach(y, same) | self._reach(y, others).any()
            found[name] = met.cpu(), seen.cpu()
        return found

    @staticmethod
    def _reach(y: Tensor, seen: list[Tensor]) -> Tensor:
        """Which entries of y anything depends on that is seen; boolean, of y's shape."""
        if not seen:
            return torch.zeros_like(y, dtype=torch.bool)
        total = torch.stack([x.sum() for x in seen]).sum()
        (gradient,) = torch.autograd.grad(total, y, retain_graph=True, allow_unused=True)
        return torch.zeros_like(y, dtype=torch.bool) if gradient is None else gradient != 0
