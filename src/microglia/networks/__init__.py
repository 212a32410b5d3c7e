"""The papers' networks, and SpikingJelly's, by name.

Needs SpikingJelly: ``pip install 'microglia[spikingjelly]'``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from microglia.errors import ConfigError, nearest
from microglia.networks.blocks import Network
from microglia.networks.conv5 import Conv5
from microglia.networks.digits import Digits
from microglia.networks.layers import Neuron
from microglia.networks.preresnet import PreResNet
from microglia.networks.vgg import VGG16
from microglia.networks.zoo import MODULES, WITH_OWN_NEURON, zoo_network

__all__ = ["VGG16", "Conv5", "Digits", "Network", "Neuron", "PreResNet", "build", "network_names"]

# Name, constructor, and the side of the input that its read-out is sized for (None: any).
OWN: dict[str, tuple[Callable[..., Network], int | None]] = {
    "conv5": (Conv5, 32),
    "digits": (Digits, 8),
    "preresnet18": (partial(PreResNet, depth=18), None),
    "preresnet20": (partial(PreResNet, depth=20), None),
    "vgg16": (VGG16, 32),
}
NEURONS = {"conv5": "lif", "digits": "lif"}  # the others use "if", as SCA's released code does


def network_names() -> list[str]:
    """The names that `build` knows: our own networks, then SpikingJelly's."""
    return [*OWN, *MODULES]


def build(
    name: str,
    *,
    classes: int,
    channels: int,
    T: int = 4,
    size: int | None = None,
    width: float = 1.0,
    neuron: str | None = None,
    tau: float | None = None,
    alpha: float | None = None,
    cnf: str | None = None,
) -> Network:
    """Build the network ``name`` with fresh weights, drawn from torch's global generator.

    ``channels`` and ``size`` are the input's channels and side in pixels; ``size`` None means 32
    (8 for "digits"), and matters only where a network's read-out is sized for it. ``T`` is the
    number of time steps for which an image is shown. ``width`` multiplies the channels of every
    layer, rounded to multiples of 8 (our own networks only). ``neuron`` is "lif", "if", "plif", or
    None for the network's own choice; ``tau`` its time constant in time steps (None: 2), ``alpha``
    the slope of its sigmoid surrogate (None: 4). ``cnf`` is a SEW-ResNet's connect function.

    The network takes images [N, channels, H, W] or sequences [T, N, channels, H, W] and returns
    logits [N, classes], averaged over time. ``network.microglia_network`` is a record of plain JSON
    from which ``build(record["name"], **record["arguments"])`` builds the same architecture again.

    Raises ConfigError for an unknown name, and for a setting that is out of range or that the
    network doesn't have.
    """
    if name not in network_names():
        raise ConfigError(f"network: '{name}' is unknown.{nearest(name, network_names())}")
    for setting, value in (("classes", classes), ("channels", channels), ("T", T), ("size", size)):
        if value is not None and value < 1:
            raise ConfigError(f"{setting}: at least 1 expected, got {value}")
    if not width > 0:
        raise ConfigError(f"width: a factor above 0 expected, got {width}")

    arguments: dict[str, Any] = {"classes": classes, "channels": channels, "T": T}
    chosen = _neuron(name, neuron, tau=tau, alpha=alpha)
    if name in OWN:
        constructor, side = OWN[name]
        if cnf is not None:
            raise ConfigError(f"cnf: only the SEW-ResNets have a connect function, not '{name}'")
        arguments["width"] = width
        if side is not None:
            arguments["size"] = size or side
        network = constructor(**arguments, neuron=chosen)
    else:
        if width != 1:
            raise ConfigError(f"width: '{name}' comes at width 1 only, got {width}")
        if cnf is not None:
            arguments["cnf"] = cnf
        network = zoo_network(name, **arguments, neuron=chosen)
    if chosen is not None:
        arguments |= {"neuron": chosen.kind, "tau": chosen.tau, "alpha": chosen.alpha}
    network.microglia_network = {"name": name, "arguments": arguments}
    return network


def _neuron(
    name: str, kind: str | None, *, tau: float | None, alpha: float | None
) -> Neuron | None:
    """The neuron to build ``name`` with; None where the network brings its own."""
    if kind is None and name in WITH_OWN_NEURON:
        if tau is not None or alpha is not None:
            raise ConfigError(
                f"tau, alpha: '{name}' brings its own neuron; name one with neuron= to set these"
            )
        return None
    return Neuron(
        kind or NEURONS.get(name, "if"),
        tau=2.0 if tau is None else tau,
        alpha=4.0 if alpha is None else alpha,
    )
