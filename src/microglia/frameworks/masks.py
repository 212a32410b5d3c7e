"""Masks of single neurons, which stay in a network for good: nobody sees a closed one's spikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks.kinds import first_tensor

NEURON_MASK = "neuron_mask"
"""Name of the buffer of a neuron layer that holds its mask."""


class NeuronMask:
    """The hook that multiplies the spikes of a neuron layer by the mask in its buffer.

        s̃[t, n, p] = m[p] s[t, n, p]

    Args:
        soft: what stands for m while it is learned, or None; copies of the network, and pickles,
            know m alone.
    """

    def __init__(self, soft: Callable[[], Tensor | None] | None = None) -> None:
        self.soft = soft

    def __reduce__(self) -> Any:
        return NeuronMask, ()

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        mask = self.soft() if self.soft is not None else None
        if mask is None:
            mask = getattr(module, NEURON_MASK)
        spikes = first_tensor(output)
        masked = spikes * mask.to(spikes)
        return masked if isinstance(output, Tensor) else (masked, *output[1:])


def put_mask(
    neuron: nn.Module, mask: Tensor, soft: Callable[[], Tensor | None] | None = None
) -> None:
    """Mask a neuron layer by a boolean tensor of its map's shape, such as [C, H, W].

    Raises:
        ConfigError: it has a mask already.
    """
    if NEURON_MASK in neuron._buffers:
        raise ConfigError(
            f"{type(neuron).__name__}: its neurons have masks already, of an earlier pruning"
        )
    neuron.register_buffer(NEURON_MASK, mask)
    neuron.register_forward_hook(NeuronMask(soft))


def take_mask(neuron: nn.Module) -> None:
    """Let all neurons of a layer be seen again."""
    neuron._buffers.pop(NEURON_MASK, None)
    for key in [k for k, hook in neuron._forward_hooks.items() if isinstance(hook, NeuronMask)]:
        del neuron._forward_hooks[key]


def neuron_masks(model: nn.Module) -> dict[str, Tensor]:
    """The masks of a network's neuron layers by module name, boolean, of their maps' shapes."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        mask = module._buffers.get(NEURON_MASK)
        if mask is not None:
            found[name] = mask
    return found
