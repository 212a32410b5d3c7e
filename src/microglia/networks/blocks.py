"""What all of our networks share: the time axis, the blocks, the first weights."""

from typing import cast

from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.networks.layers import BN, Neuron, Norm, conv3x3, linear


class Network(nn.Module):
    """A network that knows how it was built: ``build(record["name"], **record["arguments"])``.

    Takes images [N, C, H, W], shown for T time steps, or sequences [T, N, C, H, W], and returns
    logits [N, classes], averaged over time; with ``over_time`` those of each step [T, N, classes],
    which a loss such as TET wants.
    """

    microglia_network: dict[str, object]
    over_time = False
    T: int

    def answer(self, logits: Tensor) -> Tensor:
        """What the network returns, of logits [T, N, classes]."""
        return logits if self.over_time else logits.mean(0)


def set_timesteps(network: nn.Module, T: int) -> None:
    """Let a network show images for fewer time steps than it was built for, in place.

    TEBN's scales of the later steps go. Raises ConfigError for T out of range, and for a network
    that brings its own count of steps.
    """
    built = getattr(network, "T", None)
    described = getattr(network, "microglia_network", None)
    if not isinstance(network, Network) or not isinstance(built, int) or described is None:
        raise ConfigError(f"T: {type(network).__name__} is no network of ours, which know their T")
    if not 1 <= T <= built:
        raise ConfigError(f"T: wanted 1 to {built}, got {T}")
    network.T = T
    network.microglia_network = {
        **described,
        "arguments": {**described["arguments"], "T": T},
    }
    for module in network.modules():
        scale = getattr(module, "scale", None)
        if isinstance(scale, nn.Parameter) and scale.shape == (built,):
            module.scale = nn.Parameter(scale.detach()[:T].clone())


def as_sequence(x: Tensor, T: int) -> tuple[Tensor, int]:
    """An input with a time axis, and for how many time steps it is shown.

    A sequence [T', N, C, H, W] stays as it is and lasts T' steps. An image [N, C, H, W] becomes
    [1, N, C, H, W] and lasts T: all that comes before the first neuron is the same at each step, so
    it is computed once, and only `repeat` makes T steps of it.
    """
    if x.dim() == 5:
        return x, x.shape[0]
    if x.dim() == 4:
        return x.unsqueeze(0), T
    raise ConfigError(
        "the network takes images [N, C, H, W] or sequences [T, N, C, H, W], "
        f"got shape {list(x.shape)}"
    )


def repeat(x: Tensor, steps: int) -> Tensor:
    """The same values at each of ``steps`` time steps, without a copy: [1 or steps, ...]."""
    return x.expand(steps, -1, -1, -1, -1)


def normed(norm: nn.Module, x: Tensor, steps: int) -> Tensor:
    """The norm of maps that may be constant in time, [1 or steps, ...], for each of the steps.

    Batch statistics over N are those over T copies of N, so that training sees the same values; the
    running variance differs by the factor of its n / (n − 1) correction alone.
    """
    scale = getattr(norm, "scale", None)
    if scale is not None:  # TEBN scales each step by a number of its own
        if len(scale) != steps:
            raise ConfigError(
                f"norm: tebn was built for T = {len(scale)} time steps, the input has {steps}"
            )
        x = repeat(x, steps)
    return repeat(norm(x), steps)


class ConvBlock(nn.Module):
    """3x3 convolution, norm, spiking neuron and, if given, a pooling of the spikes.

    The neuron's input current is repeated over time where it is constant (see `as_sequence`).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        neuron: Neuron,
        norm: Norm = BN,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs)
        self.norm = norm.maps(outputs)
        self.neuron = neuron()
        self.pool = nn.Identity() if pool is None else pool

    def forward(self, x: Tensor, steps: int) -> Tensor:
        return cast(Tensor, self.pool(self.neuron(normed(self.norm, self.conv(x), steps))))


class LinearBlock(nn.Module):
    """Linear layer without bias, norm, spiking neuron: [T, N, inputs] to [T, N, outputs]."""

    def __init__(self, inputs: int, outputs: int, *, neuron: Neuron, norm: Norm = BN) -> None:
        super().__init__()
        self.linear = linear(inputs, outputs, bias=False)
        self.norm = norm.features(outputs)
        self.neuron = neuron()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.neuron(self.norm(self.linear(x))))


def initialise(network: nn.Module) -> None:
    """First weights as in SCA's released code.

    Convolutions from N(0, 2 / (k² · C_out)), linear layers from N(0, 0.02²) with bias 0; norms at
    scale 1 and shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def pooled(size: int, *, times: int) -> int:
    """Side of a map of side ``size`` after it is halved ``times`` times, rounding down each time.

    Raises ConfigError where nothing is left.
    """
    side = size >> times
    if side < 1:
        raise ConfigError(
            f"size: the network halves its input {times} times, "
            f"so a side of at least {1 << times} pixels is needed, got {size}"
        )
    return side
