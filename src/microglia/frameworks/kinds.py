"""What a spiking neuron is to microglia, and the neurons that users register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from microglia.errors import ConfigError


@dataclass(frozen=True)
class Observation:
    """One call of a neuron layer, as the scores see it.

    All three have the shape of the input current, `[N, ...]` for a single-step layer and
    `[T, N, ...]` for a multi-step one, and carry no gradient.
    """

    spikes: Tensor
    membrane: Tensor | None
    """H, after charging and before reset; None where the layer does not let it be known."""
    released: Tensor | None
    """V, after reset; None where the layer does not let it be known."""


@dataclass(frozen=True)
class NeuronKind:
    """How to talk to one family of spiking neurons."""

    framework: str
    multi_step: Callable[[nn.Module], bool]
    """Whether the layer takes `[T, N, ...]` (else it is called once a timestep)."""
    threshold: Callable[[nn.Module], float | Tensor]
    snapshot: Callable[[nn.Module], Any]
    """The state before a call, as `observe` wants it."""
    observe: Callable[[nn.Module, Tensor, Any, Any, int | None], Observation]
    """`observe(module, current, snapshot, output, samples)`: the first `samples` of the batch."""
    reset: Callable[[nn.Module], None]
    decay: Callable[[nn.Module], float | None]
    """λ of H_t = λ V_{t-1} + (what comes in), its mean over channels; None where it isn't so."""


def first_tensor(value: Any) -> Tensor:
    """The tensor itself, or the first one of a tuple such as (spikes, membrane)."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (tuple, list)):
        for item in value:
            if isinstance(item, Tensor):
                return item
    raise ConfigError(f"a spiking neuron must take and return tensors, got {type(value)}")


_registered: dict[type[nn.Module], NeuronKind] = {}


def register_neuron(
    cls: type[nn.Module],
    membrane: str | Callable[[nn.Module], Tensor],
    *,
    reset: str | Callable[[nn.Module], None] = "reset",
    threshold: str | float = 1.0,
    multi_step: bool = False,
    decay: float | Callable[[nn.Module], float] | None = None,
) -> None:
    """Tell microglia that `cls` is a spiking neuron; one line makes a network prunable.

    Args:
        cls: a module called with the input current, returning spikes or (spikes, ...).
        membrane: attribute (or function of the module) that holds H, the potential after
            charging and before reset, once the module has been called.
        reset: method (or function of the module) that clears the state.
        threshold: firing threshold, or the attribute that holds it.
        multi_step: True where one call takes `[T, N, ...]`; `membrane` then has that shape too.
        decay: what is left of the potential after a timestep (or a function of the module), for
            methods that ask how a layer's inputs add up over time; None if it can't be said.

    Raises:
        ConfigError: `cls` is not a module class.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(f"register_neuron wants a subclass of torch.nn.Module, got {cls!r}")

    def observe(
        module: nn.Module, current: Tensor, before: Any, output: Any, samples: int | None
    ) -> Observation:
        h = getattr(module, membrane) if isinstance(membrane, str) else membrane(module)
        spikes = first_tensor(output)
        batch = 1 if multi_step else 0
        return Observation(
            spikes=_first(spikes.detach(), samples, batch),
            membrane=_first(h.detach(), samples, batch),
            released=None,
        )

    def clear(module: nn.Module) -> None:
        if isinstance(reset, str):
            getattr(module, reset)()
        else:
            reset(module)

    _registered[cls] = NeuronKind(
        framework="registered",
        multi_step=lambda module: multi_step,
        threshold=lambda m: getattr(m, threshold) if isinstance(threshold, str) else threshold,
        snapshot=lambda module: None,
        observe=observe,
        reset=clear,
        decay=decay if callable(decay) else lambda module: decay,
    )


def registered_kind(module: nn.Module) -> NeuronKind | None:
    """The kind under which the module's class, or the nearest base of it, was registered."""
    for base in type(module).__mro__:
        if base in _registered:
            return _registered[base]
    return None


def _first(x: Tensor, samples: int | None, batch_axis: int) -> Tensor:
    if samples is None:
        return x
    return x.narrow(batch_axis, 0, min(samples, x.shape[batch_axis]))


def first_samples(value: Tensor, samples: int | None, *, multi_step: bool) -> Tensor:
    """The first `samples` of the batch axis: axis 1 of `[T, N, ...]`, axis 0 of `[N, ...]`."""
    return _first(value, samples, 1 if multi_step else 0)
