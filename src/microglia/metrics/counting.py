"""Counting operations while the network runs.

Counted are the convolutions, transposed convolutions and linear layers (and subclasses) that
run as modules, wherever they stand, recurrent containers included.

Not counted: products of activations (attention scores), weights used without calling such a
module (a raw parameter in a matrix product, `nn.MultiheadAttention`, `nn.Bilinear`, `nn.LSTM`),
residual additions, pooling. Weights that no counted layer used are listed in
`Operations.uncounted`. A subclass that computes its weights inside its own `forward` (weight
standardisation) is counted by its attribute `weight`. A layer in front of a closed gate of
channels still counts in full: measure the compacted network, not the masked one. Connections from
and to neurons that a mask closes for good are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError, DataError, StructureError
from microglia.frameworks import first_tensor, neuron_kind
from microglia.metrics.forward import Batches, Forward, call, evaluating, peeked, plain, run
from microglia.metrics.openings import Openings, openings
from microglia.metrics.operations import LayerOperations, Operations, Updates
from microglia.metrics.synapses import SynapseLayer, dense_macs, fan_out, kind, space_axes

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def count_operations(
    model: nn.Module, batches: Batches, *, T: int | None = None, forward: Forward = call
) -> Operations:
    """Operations of the network on these samples; the network is left as it was.

    Args:
        model: any network of modules; one without spiking neurons wants T (1 for a plain ANN).
        batches: (inputs, labels [N]) pairs; the labels tell the number of samples.
        T: timesteps of a sample. None: as often as the spiking neurons are updated.
        forward: how to call the network.

    Raises:
        DataError: no batches, an empty batch, or outputs of another shape than [N, classes].
        StructureError: no synapse layer ran, or one that isn't run for every sample.
        ConfigError: T can't be told, or differs between batches.
        TrainingError: the outputs are NaN or infinite.
    """
    model = plain(model)
    with evaluating(model):
        first, batches = peeked(batches)
        left = openings(model, first, forward)
        with OperationCounter(model, T=T, left=left) as counter:
            for _, labels in run(model, batches, forward):
                counter.end_batch(len(labels))
    return counter.result()


@dataclass
class _Tally:
    """Sums over the samples and timesteps of one synapse layer."""

    rows: int = 0
    """Uses of the layer: N a timestep, more where a sample uses it at several places."""
    connections: int = 0
    macs: int = 0
    accumulates: int = 0
    multiply_accumulates: int = 0

    def __iadd__(self, other: _Tally) -> _Tally:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


class OperationCounter:
    """Counts what the network does inside the `with`, batch by batch, through forward hooks.

        with OperationCounter(model) as counter:
            for inputs, labels in batches:
                reset(model)
                model(inputs)
                counter.end_batch(len(labels))
        operations = counter.result()

    `left` is what `openings` says of a network with masks of neurons, and None for others.

    Only sums are stored, one fan-out map a layer, and until the end of a batch the inputs of
    the first layer (to see whether all timesteps get the same).
    """

    def __init__(self, model: nn.Module, *, T: int | None = None, left: Openings | None = None):
        if T is not None and T < 1:
            raise ConfigError(f"T: wanted a number of timesteps of 1 or more, got {T}")
        self._model = model
        self._left = left or {}
        self._T = T
        self._samples = 0
        self._layers: dict[str, SynapseLayer] = {}
        self._fan_outs: dict[tuple[str, torch.Size, torch.Size], Tensor] = {}
        self._totals: dict[str, _Tally] = {}
        self._synapses: dict[str, float] = {}
        self._norms = self._neurons = self._biases = 0
        self._static = True
        self._hooks = ExitStack()
        self._new_batch()

    def _new_batch(self) -> None:
        self._batch: dict[str, _Tally] = {}
        self._first_inputs: list[Tensor] = []
        self._neuron_rows: dict[str, int] = {}

    def __enter__(self) -> OperationCounter:
        for name, module in self._model.named_modules():
            hook: Callable[..., None]
            if isinstance(module, SynapseLayer):
                hook = self._synapse_hook(name)
            elif neuron_kind(module) is not None:
                hook = self._neuron_hook(name)
            elif isinstance(module, _NORMS):
                hook = self._norm_hook
            else:
                continue
            handle = module.register_forward_hook(hook, with_kwargs=True)
            self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _synapse_hook(self, name: str) -> Callable[..., None]:
        def hook(layer: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            x, y = first_tensor((*args, *kwargs.values())).detach(), first_tensor(output)
            axes = space_axes(layer)
            spaces = x.shape[x.dim() - axes :], y.shape[y.dim() - axes :]
            # [T, N, C, *space], [T·N, C, *space] and [N, C, *space] alike, tokens too.
            x = x.reshape(-1, *x.shape[x.dim() - axes - 1 :])
            self._layers.setdefault(name, layer)
            if name == next(iter(self._layers)):
                self._first_inputs.append(x)
            fan = self._fan_outs.get((name, *spaces))
            if fan is None:
                met, seen = self._left.get(name, (torch.tensor(True), None))
                fan = (fan_out(layer, *spaces, seen) * met).to(x.device)
                self._fan_outs[name, *spaces] = fan
            ones = (x == 1).sum(0)
            graded = (x != 0).sum(0) - ones
            tally = self._batch.setdefault(name, _Tally())
            tally += _Tally(
                rows=len(x),
                connections=len(x) * int(fan.sum()),
                macs=len(x) * dense_macs(layer, *spaces),
                accumulates=int((ones * fan).sum()),
                multiply_accumulates=int((graded * fan).sum()),
            )
            if layer.bias is not None:
                self._biases += y.numel()

        return hook

    def _neuron_hook(self, name: str) -> Callable[..., None]:
        def hook(neuron: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            spikes = first_tensor(output)
            kind_of_neuron = neuron_kind(neuron)
            multi_step = kind_of_neuron is not None and kind_of_neuron.multi_step(neuron)
            rows = spikes.shape[0] * spikes.shape[1] if multi_step else spikes.shape[0]
            self._neuron_rows[name] = self._neuron_rows.get(name, 0) + rows
            self._neurons += spikes.numel()

        return hook

    def _norm_hook(self, norm: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self._norms += first_tensor(output).numel()

    def end_batch(self, samples: int) -> None:
        """Close the batch of N samples that has just run.

        Raises:
            StructureError: no synapse layer ran, or one not a whole number of times a sample.
            ConfigError: T can't be told, or doesn't fit what ran.
        """
        if not self._batch:
            raise StructureError(
                "no convolution and no linear layer ran: there are no synaptic operations to "
                "count (weights used without calling their module can't be seen)"
            )
        T = self._T = self._timesteps(samples)
        self._static = self._static and self._same_at_all_steps(samples, T)
        for name, tally in self._batch.items():
            uses = _uses(f"layer '{name}'", tally.rows, samples)
            # A layer in front of time (a static image) or behind it (a mean over T) runs once.
            steps = T if uses % T == 0 else 1
            self._synapses[name] = self._synapses.get(name, 0) + tally.connections / steps
            total = self._totals.setdefault(name, _Tally())
            total += tally
        self._samples += samples
        self._new_batch()

    def _timesteps(self, samples: int) -> int:
        """T: as given or as in the batches before, and as the neurons show it."""
        shown = {
            name: _uses(f"neuron layer '{name}'", rows, samples)
            for name, rows in self._neuron_rows.items()
        }
        if self._T is not None:
            for name, steps in shown.items():
                if steps % self._T:
                    raise ConfigError(
                        f"neuron layer '{name}' was updated {steps} times a sample, which doesn't "
                        f"fit T={self._T}; give the T that the network runs, and measure batches "
                        "of different length apart"
                    )
            return self._T
        if len(set(shown.values())) == 1:
            return next(iter(shown.values()))
        found = ", ".join(f"{name}: {steps}" for name, steps in shown.items()) or "none ran"
        raise ConfigError(
            f"the number of timesteps can't be told from the spiking neurons ({found}); pass T= "
            "(1 for a network without time), and register your own neurons with "
            "microglia.frameworks.register_neuron"
        )

    def _same_at_all_steps(self, samples: int, T: int) -> bool:
        """Whether the first layer's input is static: fed once, or the same T times over."""
        rows = sum(len(x) for x in self._first_inputs)
        if rows == samples:
            return True
        if rows != samples * T or len({x.shape[1:] for x in self._first_inputs}) > 1:
            return False
        by_step = torch.cat(self._first_inputs).reshape(T, -1)
        return bool((by_step == by_step[0]).all())

    def result(self) -> Operations:
        """The means per sample over all closed batches.

        Raises:
            DataError: there was no batch.
        """
        if self._T is None or not self._samples:
            raise DataError("no batches: there is nothing to measure; is the loader empty?")
        return Operations(
            T=self._T,
            samples=self._samples,
            layers=tuple(self._layer_result(name, self._T) for name in self._layers),
            updates=Updates(
                neurons=self._neurons / self._samples,
                norms=self._norms / self._samples,
                biases=self._biases / self._samples,
            ),
            uncounted=self._uncounted(),
        )

    def _layer_result(self, name: str, T: int) -> LayerOperations:
        total = self._totals[name]
        repeats = T if self._static and name == next(iter(self._layers)) else 1
        # What stands in the result is one execution, also where the network repeats the image.
        executions = repeats if total.rows == self._samples * T else 1
        per_sample = self._samples * executions
        # A layer that is given graded values multiplies all of them, also those that are 1.
        graded = total.multiply_accumulates > 0
        synops = total.accumulates + total.multiply_accumulates
        return LayerOperations(
            name=name,
            kind=kind(self._layers[name]),
            synapses=self._synapses[name] / self._samples,
            macs=total.macs / per_sample,
            accumulates=0.0 if graded else synops / per_sample,
            multiply_accumulates=synops / per_sample if graded else 0.0,
            repeats=repeats,
        )

    def _uncounted(self) -> tuple[str, ...]:
        """Names of matrices that belong neither to a layer that ran, nor to a norm or neuron."""
        known = [f"{name}." for name in self._layers]
        for name, module in self._model.named_modules():
            if isinstance(module, _NORMS) or neuron_kind(module) is not None:
                known.extend(f"{name}.{own}" for own, _ in module.named_parameters(recurse=False))
        return tuple(
            name
            for name, weight in self._model.named_parameters()
            if sum(extent > 1 for extent in weight.shape) > 1 and not name.startswith(tuple(known))
        )


def _uses(what: str, rows: int, samples: int) -> int:
    """How often a sample uses a layer that ran on so many rows."""
    uses, rest = divmod(rows, samples)
    if rest:
        raise StructureError(
            f"{what} ran on {rows} rows for {samples} samples; wanted a whole number of uses a "
            "sample (is the batch as long as its labels, and batch-first within a timestep?)"
        )
    return uses
