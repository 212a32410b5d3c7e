"""A copy of a network that does nothing but infer, as fast as it can."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from microglia.errors import ConfigError
from microglia.frameworks import fresh_copy, reset
from microglia.runtime.channels_last import allows_channels_last, put_channels_last
from microglia.runtime.fold import fold, foldable, give_biases
from microglia.runtime.pool import accelerate_pool
from microglia.runtime.trace import Trace


def accelerate(model: nn.Module, *, example_input: Any = None) -> nn.Module:
    """A copy of the network for inference that computes the same in less time.

    The copy is in evaluation mode, and its parameters ask for no gradient. On it

    - the convolutions and linear layers have taken in the batch norms that follow them, where the
      example shows that a norm reads nothing but that layer's output and nobody else reads it;
    - SpikingJelly's IF, LIF and PLIF neurons are scanned over time in fewer passes over memory,
      with bit-equal spikes, and write these over their input current where the example shows that
      nobody reads it later (so a hook that keeps the current must clone it);
    - max pooling takes maxima of whole slices;
    - convolutions on the CPU compute with the channels last in memory, if the network allows it.

    What isn't certain is left as it was. In float64 spikes are identical and outputs differ by
    summation order alone; in float32 folding flips a few spikes. The network itself is untouched.

    Args:
        model: a network of any framework. A pruned one is best compacted first: gates stay.
        example_input: an input, or a tuple of them, that takes the way through the network that
            later inputs take; its batch may be smaller. Without it only neurons and pooling are
            made faster, for where norms belong and who reads what can't be known.

    Raises:
        ConfigError: the network fails on the example.
    """
    fast = fresh_copy(_plain(model)).eval().requires_grad_(False)
    if example_input is None:
        _accelerate_layers(fast, overwriting=set())
        return fast
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    probe = fresh_copy(fast)
    reset(probe)
    give_biases(probe)
    trace = _run(probe, inputs)
    for norm, layer in foldable(probe, trace).items():
        fold(fast.get_submodule(layer), fast.get_submodule(norm))
    _accelerate_layers(fast, overwriting=_sole_readers(trace))
    if allows_channels_last(fast, inputs):
        put_channels_last(fast)
    return fast


def _plain(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile`, DataParallel and DistributedDataParallel wrappers."""
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return _plain(model.module)
    original = getattr(model, "_orig_mod", None)
    return _plain(original) if isinstance(original, nn.Module) else model


def _run(model: nn.Module, inputs: tuple[Any, ...]) -> Trace:
    with torch.random.fork_rng(devices=_gpus(model)), torch.no_grad(), Trace(model) as trace:
        try:
            output = model(*inputs)
        except Exception as error:
            raise ConfigError(
                f"example_input: the network fails on it ({type(error).__name__}: {error}); "
                "give an input as the network takes it, on the network's device"
            ) from error
        trace.returned(output)
    return trace


def _gpus(model: nn.Module) -> list[torch.device]:
    return list({p.device for p in model.parameters() if p.device.type == "cuda"})


def _accelerate_layers(model: nn.Module, *, overwriting: set[str]) -> None:
    """`overwriting`: modules that may write their output over their input."""
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            accelerate_pool(module)
    if "spikingjelly.activation_based" not in sys.modules:
        return  # then none of its neurons can exist
    from microglia.runtime.spikingjelly import accelerate_neuron

    for name, module in model.named_modules():
        accelerate_neuron(module, overwrites_current=name in overwriting)


def _sole_readers(trace: Trace) -> set[str]:
    """Modules after whose calls nobody touches the tensor that they were given."""

    def last(name: str) -> bool:
        inputs = ((call.input.block, call.inside) for call in trace.calls[name])
        passing = trace.made - trace.kept
        return all(b in passing and trace.touching[b][-1] in inside for b, inside in inputs)

    return {name for name in trace.calls if name not in trace.unclear and last(name)}
