"""What a spiking neuron is, one file a framework; nothing else knows their classes.

A framework is asked only once the user's program has imported it: before that none of its
neurons can exist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks.copies import (
    GATE,
    WEIGHT_GATE,
    Hook,
    bare_copy,
    fresh_copy,
    refuse_masked,
)
from microglia.frameworks.kinds import (
    NeuronKind,
    Observation,
    first_tensor,
    register_neuron,
    registered_kind,
)
from microglia.frameworks.masks import NEURON_MASK, neuron_masks, put_mask, take_mask
from microglia.frameworks.recurrent import (
    RecurrentNetwork,
    RecurrentWeight,
    from_factors,
    register_recurrent,
    registered_reader,
)

__all__ = [
    "GATE",
    "NEURON_MASK",
    "WEIGHT_GATE",
    "Hook",
    "NeuronKind",
    "Observation",
    "RecurrentNetwork",
    "RecurrentWeight",
    "bare_copy",
    "first_tensor",
    "fresh_copy",
    "from_factors",
    "neuron_kind",
    "neuron_masks",
    "put_mask",
    "recurrent_network",
    "recurrent_weights",
    "refuse_masked",
    "register_neuron",
    "register_recurrent",
    "reset",
    "resize",
    "spiking_neurons",
    "take_mask",
]

_ADAPTERS = {"spikingjelly.activation_based": "spikingjelly", "snntorch": "snntorch"}


def _adapters() -> Iterator[ModuleType]:
    for framework, name in _ADAPTERS.items():
        if framework in sys.modules:
            yield import_module(f"microglia.frameworks.{name}")


def neuron_kind(module: nn.Module) -> NeuronKind | None:
    """How to talk to the module if it is a spiking neuron, else None."""
    kind = registered_kind(module)
    if kind is not None:
        return kind
    for adapter in _adapters():
        found: NeuronKind | None = adapter.kind(module)
        if found is not None:
            return found
    return None


def spiking_neurons(model: nn.Module) -> dict[str, nn.Module]:
    """The spiking neurons of the network by their module names, in the order of definition."""
    return {name: m for name, m in model.named_modules() if neuron_kind(m) is not None}


def reset(model: nn.Module) -> None:
    """Clear the state of every spiking neuron and recurrent container of the network."""
    for module in model.modules():
        kind = registered_kind(module)
        if kind is not None:
            kind.reset(module)
            continue
        for adapter in _adapters():
            if adapter.reset(module):
                break


def resize(module: nn.Module, kept: Callable[[str, int], Tensor | None]) -> dict[str, int]:
    """Sizes that a framework's module keeps beside its weights, after a cut."""
    sizes: dict[str, int] = {}
    for adapter in _adapters():
        sizes.update(adapter.resize(module, kept))
    return sizes


def recurrent_network(module: nn.Module, dt: float = 1e-3) -> RecurrentNetwork:
    """The recurrent network that a module is, or the only one inside it.

    Known are modules with a method ``recurrent_network()`` (our `HRSNN`), SpikingJelly's recurrent
    containers, snnTorch's RLeaky and RSynaptic, and classes given to `register_recurrent`. ``dt``
    is the length of their time step in seconds, where they don't know it themselves. Spikes of the
    module are those of `microglia.simulation.simulate` on the network, given the module's input as
    drive, unless its adapter says otherwise.

    Raises:
        ConfigError: no recurrent layer, several of them, or one that `RecurrentNetwork` can't
            express.
    """
    whole = _recurrent(module, dt)
    if whole is not None:
        return whole
    found: dict[str, RecurrentNetwork] = {}
    for name, part in module.named_modules():
        network = _recurrent(part, dt)
        if network is not None:
            found[name] = network
    if not found:
        raise ConfigError(
            f"{type(module).__name__} has no recurrent layer that is known; say what its network "
            "is with microglia.frameworks.register_recurrent"
        )
    if len(found) > 1:
        raise ConfigError(
            f"{type(module).__name__} has several recurrent layers, give one of them: "
            + ", ".join(found)
        )
    return next(iter(found.values()))


def _recurrent(module: nn.Module, dt: float) -> RecurrentNetwork | None:
    """The network of this very module, None where it has none."""
    registered = registered_reader(module)
    if registered is not None:
        return registered[0](module, dt)
    own = getattr(module, "recurrent_network", None)
    if callable(own):
        network: RecurrentNetwork = own()
        return network
    for adapter in _adapters():
        found: RecurrentNetwork | None = adapter.recurrent(module, dt)
        if found is not None:
            return found
    return None


def recurrent_weights(model: nn.Module) -> dict[str, RecurrentWeight]:
    """The recurrent layers whose synapses are a dense parameter of theirs, by module name.

    Left out are others: elements fed back one by one, a linear layer between the recurrent one
    and its neurons (whose W is a product), sparse synapses, classes registered without a weight.
    """
    found: dict[str, RecurrentWeight] = {}
    for name, module in model.named_modules():
        weight = _recurrent_weight(module)
        if weight is not None:
            found[name] = weight
    return found


def _recurrent_weight(module: nn.Module) -> RecurrentWeight | None:
    registered = registered_reader(module)
    if registered is not None:
        return registered[1]
    for adapter in _adapters():
        found: RecurrentWeight | None = adapter.recurrent_weight(module)
        if found is not None:
            return found
    return None
