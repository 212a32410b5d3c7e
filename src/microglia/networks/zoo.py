"""SpikingJelly's own networks by name, their classes unmodified."""

from importlib import import_module
from typing import cast

from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.networks.blocks import Network, as_sequence, repeat
from microglia.networks.layers import Neuron, multi_step

FAMILIES = {
    "sew_resnet": ("sew_resnet18", "sew_resnet34", "sew_resnet50", "sew_resnet101"),
    "spiking_resnet": ("spiking_resnet18", "spiking_resnet34", "spiking_resnet50"),
    "spiking_vgg": tuple(f"spiking_vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
    "ms_resnet": ("ms_resnet18", "ms_resnet34", "max_resnet18"),
    "spikformer": ("spikformer_cifar10",),
}
MODULES = {name: family for family, names in FAMILIES.items() for name in names}
# These take T, and bring their paper's neuron with them; the others leave it to the caller.
WITH_OWN_NEURON = FAMILIES["ms_resnet"] + FAMILIES["spikformer"]
CONNECT_FUNCTIONS = ("ADD", "AND", "IAND")


class ZooNetwork(Network):
    """One of SpikingJelly's networks, taking images or sequences and returning mean logits.

    An image is shown at each of the T time steps: the first layers are inside the network, so they
    are computed T times.
    """

    def __init__(self, network: nn.Module, *, T: int) -> None:
        super().__init__()
        self.network = multi_step(network)
        self.T = T

    def forward(self, x: Tensor) -> Tensor:
        x, steps = as_sequence(x, self.T)
        logits = cast(Tensor, self.network(repeat(x, steps)))
        if logits.dim() == 3:
            return self.answer(logits)
        if self.over_time:
            raise ConfigError(f"{type(self.network).__name__} averages its logits over time itself")
        return logits


def zoo_network(
    name: str,
    *,
    classes: int,
    channels: int,
    T: int,
    neuron: Neuron | None,
    cnf: str | None = None,
) -> ZooNetwork:
    """SpikingJelly's network ``name``, a key of `MODULES`.

    ``neuron`` None leaves the paper's own neuron where the network brings one. ``cnf`` is the
    SEW-ResNets' connect function: ADD (if None), AND or IAND. Takes images [N, channels, H, W] or
    sequences [T, N, channels, H, W]; returns logits [N, classes]. Raises ConfigError where
    ``channels``, ``neuron`` or ``cnf`` doesn't fit the network.
    """
    family = MODULES[name]
    arguments: dict[str, object] = {"num_classes": classes}
    if name in WITH_OWN_NEURON:
        arguments["T"] = T
    if family == "ms_resnet":
        arguments["in_channels"] = channels
    elif channels != 3:
        raise ConfigError(f"channels: '{name}' takes images of 3 channels, got {channels}")
    if family == "sew_resnet":
        arguments["cnf"] = cnf or "ADD"
        if arguments["cnf"] not in CONNECT_FUNCTIONS:
            raise ConfigError(f"cnf: one of {', '.join(CONNECT_FUNCTIONS)} expected, got '{cnf}'")
    elif cnf is not None:
        raise ConfigError(f"cnf: only the SEW-ResNets have a connect function, not '{name}'")
    if neuron is not None:
        # The membrane ResNets and transformers pass a step mode; our neurons have theirs already.
        arguments["spiking_neuron"] = lambda **_: neuron()
    elif name not in WITH_OWN_NEURON:
        raise ConfigError(f"neuron: '{name}' brings none of its own, choose one")
    module = import_module(f"spikingjelly.activation_based.model.{family}")
    return ZooNetwork(getattr(module, name)(**arguments), T=T)
