"""What a network is made of: which channels of which tensors live and die together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from microglia.errors import ConfigError, StructureError
from microglia.frameworks import (
    bare_copy,
    neuron_kind,
    neuron_masks,
    reset,
    spiking_neurons,
    take_mask,
)
from microglia.structure.build import build
from microglia.structure.groups import Cut, Group, Keep, Site, Structure, Use, output_axis
from microglia.structure.trace import Trace

__all__ = [
    "Cut",
    "Group",
    "Keep",
    "Site",
    "Structure",
    "Use",
    "as_arguments",
    "output_axis",
    "trace_structure",
]


def trace_structure(model: nn.Module, example_input: Any) -> Structure:
    """The groups of channels of a network, from one or two passes over a copy of it.

    Two timesteps show recurrent connections: spikes of one step that meet weights in the next.
    Where one call of the network isn't several timesteps for every neuron, a second pass goes on
    from the neurons' states that the first one left.

    Args:
        model: the network; left exactly as it was.
        example_input: one input as the network takes it, `[N, C, H, W]` or `[T, N, C, H, W]`;
            a tuple is taken as several arguments. A batch of one or two is enough.

    Raises:
        StructureError: there is no spiking neuron, the network is wrapped, or a tensor enters
            whose history is unknown.
    """
    refuse_wrapped(model)
    if not spiking_neurons(model):
        raise StructureError(
            f"{type(model).__name__} has no spiking neuron that microglia knows. It knows those of "
            "SpikingJelly and snnTorch; tell it of your own with "
            "mg.register_neuron(MyNeuron, membrane='v')."
        )
    copy = bare_copy(model).cpu().eval()
    for name in neuron_masks(copy):  # they tie nothing, and what isn't seen isn't asked about
        take_mask(copy.get_submodule(name))
    reset(copy)
    arguments = tree_map(
        lambda x: x.detach().cpu().clone() if isinstance(x, Tensor) else x,
        as_arguments(example_input),
    )
    trace = Trace(copy)
    trace.inputs(x for x in tree_leaves(arguments) if isinstance(x, Tensor))
    with torch.random.fork_rng(devices=[]), torch.no_grad(), trace:
        outputs = [run(copy, arguments)]
        trace.end_of_pass()
        if not _steps_inside(trace):
            outputs.append(run(copy, arguments))
    trace.pin_output(y for y in tree_leaves(outputs) if isinstance(y, Tensor))
    return build(trace, name=type(model).__name__)


def _steps_inside(trace: Trace) -> bool:
    """Whether every neuron was given two timesteps or more at once."""
    kinds = [(m, neuron_kind(m)) for m in spiking_neurons(trace.model).values()]
    multi = all(kind is not None and kind.multi_step(m) for m, kind in kinds)
    return multi and all(reading.shape[0] > 1 for reading in trace.neurons)


def as_arguments(example_input: Any) -> tuple[Any, ...]:
    """The positional arguments that an example input stands for.

    Raises:
        ConfigError: there is no tensor in it.
    """
    if not any(isinstance(x, Tensor) for x in tree_leaves(example_input)):
        raise ConfigError(
            f"example_input: wanted a tensor as in training, or a tuple of arguments with one, got "
            f"a {type(example_input).__name__}"
        )
    return tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)


def run(model: nn.Module, arguments: tuple[Any, ...]) -> Any:
    """Call the network; a failure of the user's own forward says so."""
    try:
        return model(*arguments)
    except StructureError:
        raise
    except Exception as error:
        shapes = [tuple(x.shape) for x in tree_leaves(arguments) if isinstance(x, Tensor)]
        why = str(error).rstrip(".")
        raise StructureError(
            f"{type(model).__name__} fails on the example input of shape "
            f"{', '.join(map(str, shapes))}: {why}. Pass an input as in training."
        ) from error


def refuse_wrapped(model: nn.Module) -> None:
    """Refuse wrappers that hide the network's own modules from hooks, by name.

    Raises:
        StructureError: a compiled, scripted, or parallel wrapper.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise StructureError("a TorchScript module can't be pruned; pass the module it came from.")
    for name, module in model.named_modules():
        where = f"'{name}'" if name else "the network"
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            raise StructureError(
                f"{where} is wrapped in {type(module).__name__}; pass the network inside it "
                "(`.module`) and wrap it after the pruner is made."
            )
        if type(module).__name__ == "OptimizedModule":
            raise StructureError(
                f"{where} is compiled; pass the module inside it (`._orig_mod`), and compile the "
                "network that compact() gives."
            )
