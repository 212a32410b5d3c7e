"""The papers' networks, and SpikingJelly's, by name.

Needs SpikingJelly: ``pip install 'microglia[spikingjelly]'``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from microglia.errors import ConfigError, nearest
from microglia.networks.blocks import Network, set_timesteps
from microglia.networks.hrsnn import CHRSNN, HRSNN
from microglia.networks.layers import Neuron, Norm
from microglia.networks.plain import PLANS, Plain
from microglia.networks.population import CHRSNNConfig, Gamma, HRSNNConfig
from microglia.networks.preresnet import PreResNet
from microglia.networks.readout import SpikeReadout, filtered
from microglia.networks.resnet19 import ResNet19
from microglia.networks.wiring import Distance, SmallWorld
from microglia.networks.zoo import MODULES, WITH_OWN_NEURON, zoo_network

__all__ = [
    "CHRSNN",
    "HRSNN",
    "PLANS",
    "CHRSNNConfig",
    "Distance",
    "Gamma",
    "HRSNNConfig",
    "Network",
    "Neuron",
    "Norm",
    "Plain",
    "PreResNet",
    "ResNet19",
    "SmallWorld",
    "SpikeReadout",
    "build",
    "filtered",
    "network_names",
    "set_timesteps",
]

# Name and constructor; the plain chains' read-outs are sized for one side of the images.
OWN: dict[str, Callable[..., Network]] = {
    **{name: partial(Plain, plan) for name, plan in PLANS.items()},
    "preresnet18": partial(PreResNet, depth=18),
    "preresnet20": partial(PreResNet, depth=20),
    "resnet19": ResNet19,
}
# The others use "if", as SCA's released code does.
NEURONS = {name: plan.neuron for name, plan in PLANS.items()} | {"resnet19": "lif"}


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
    surrogate: str | None = None,
    reset: str | None = None,
    detach_reset: bool | None = None,
    beta: float | None = None,
    tau_a: float | None = None,
    norm: str | None = None,
    cnf: str | None = None,
) -> Network:
    """Build the network ``name`` with fresh weights, drawn from torch's global generator.

    ``channels`` and ``size`` are the input's channels and side in pixels; ``size`` None means the
    network's usual one (32, for "digits" 8, for "vggsnn" 48), and matters only where a read-out is
    sized for it. ``T`` is the number of time steps for which an image is shown. ``width``
    multiplies the channels of every layer, rounded to multiples of 8 (our own networks only;
    `UniformSlim` narrows SpikingJelly's, by cutting them).

    ``neuron`` is "lif", "if", "plif", "alif", or None for the network's own choice; ``tau`` its
    time constant in time steps (None: 2), ``surrogate`` "sigmoid" (if None), "atan" or "triangle",
    ``alpha`` its slope (None: 4), ``reset`` "hard" (if None) or "soft", through which no gradient
    flows unless ``detach_reset`` is False; "alif" alone has ``beta`` (None: 0.2) and ``tau_a``
    (None: 4); see `Neuron`. ``norm`` is "bn" (if None), "tdbn" or "tebn", see `Norm`. ``cnf`` is a
    SEW-ResNet's connect function.

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
    chosen = _neuron(
        name,
        neuron,
        tau=tau,
        alpha=alpha,
        surrogate=surrogate,
        reset=reset,
        detach_reset=detach_reset,
        beta=beta,
        tau_a=tau_a,
    )
    if name in OWN:
        if cnf is not None:
            raise ConfigError(f"cnf: only the SEW-ResNets have a connect function, not '{name}'")
        arguments["width"] = width
        if name in PLANS:
            arguments["size"] = size or PLANS[name].size
        network = OWN[name](**arguments, neuron=chosen, norm=Norm(norm or "bn", T))
        arguments["norm"] = norm or "bn"
    else:
        if width != 1:
            raise ConfigError(
                f"width: '{name}' comes at width 1 only, got {width}. Build it whole and narrow it "
                "by mg.UniformSlim (pruning.method = 'uniform-slim') before it trains"
            )
        if norm not in (None, "bn"):
            raise ConfigError(f"norm: '{name}' comes with batch norm only, got '{norm}'")
        if cnf is not None:
            arguments["cnf"] = cnf
        network = zoo_network(name, **arguments, neuron=chosen)
    if chosen is not None:
        arguments |= {
            "neuron": chosen.kind,
            "tau": chosen.tau,
            "alpha": chosen.alpha,
            "surrogate": chosen.surrogate,
            "reset": chosen.reset,
            "detach_reset": chosen.detach_reset,
        }
        if chosen.kind == "alif":
            arguments |= {"beta": chosen.beta, "tau_a": chosen.tau_a}
    network.microglia_network = {"name": name, "arguments": arguments}
    return network


def _neuron(name: str, kind: str | None, **settings: Any) -> Neuron | None:
    """The neuron to build ``name`` with; None where the network brings its own."""
    given = {setting: value for setting, value in settings.items() if value is not None}
    if kind is None and name in WITH_OWN_NEURON:
        if given:
            raise ConfigError(
                f"{', '.join(given)}: '{name}' brings its own neuron; name one with neuron= to "
                "set these"
            )
        return None
    kind = kind or NEURONS.get(name, "if")
    adaptive = [setting for setting in given if setting in ("beta", "tau_a")]
    if adaptive and kind != "alif":
        raise ConfigError(f"{', '.join(adaptive)}: only neuron='alif' adapts, not '{kind}'")
    return Neuron(kind, **given)
