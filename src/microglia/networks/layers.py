"""The layers that our networks are made of: SpikingJelly's, in multi-step mode [T, N, ...]."""

from dataclasses import dataclass
from typing import cast

from torch import nn

from microglia.errors import ConfigError, nearest

try:
    from spikingjelly.activation_based import functional, layer, surrogate
    from spikingjelly.activation_based import neuron as nodes
except ImportError as missing:
    raise ConfigError(
        "microglia's networks are made of SpikingJelly's layers, and it is not installed: "
        "pip install 'microglia[spikingjelly]'"
    ) from missing

NEURONS = ("lif", "if", "plif")


@dataclass(frozen=True)
class Neuron:
    """Which spiking neuron a network is built with; calling it makes one.

    With X the input current, H the membrane potential before reset, S the spike, V after reset:

        if:         H = V + X
        lif, plif:  H = V + (X − V) / τ          (plif learns τ, one per layer)
        S = 1[H ≥ 1],   V = H · (1 − S)          (hard reset to 0, detached in the backward pass)
        dS/dH ≈ α · σ(α(H − 1)) · (1 − σ(α(H − 1)))

    Raises ConfigError where ``kind`` is unknown, τ ≤ 1 or α ≤ 0.
    Source: SCA (Li et al., ICML 2024), equations 1 to 3.
    """

    kind: str = "lif"
    tau: float = 2.0
    alpha: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in NEURONS:
            raise ConfigError(
                f"neuron: '{self.kind}' is unknown.{nearest(self.kind, list(NEURONS))}"
            )
        if not self.tau > 1:
            raise ConfigError(f"tau: the time constant must be above 1 time step, got {self.tau}")
        if not self.alpha > 0:
            raise ConfigError(f"alpha: the surrogate's slope must be above 0, got {self.alpha}")

    def __call__(self) -> nn.Module:
        common = {
            "v_threshold": 1.0,
            "v_reset": 0.0,
            "surrogate_function": surrogate.Sigmoid(alpha=self.alpha),
            "detach_reset": True,
            "step_mode": "m",
        }
        if self.kind == "if":
            return cast(nn.Module, nodes.IFNode(**common))
        if self.kind == "lif":
            return cast(nn.Module, nodes.LIFNode(tau=float(self.tau), **common))
        return cast(nn.Module, nodes.ParametricLIFNode(init_tau=float(self.tau), **common))


IF = Neuron("if")
LIF = Neuron("lif")


def scaled(channels: int, width: float) -> int:
    """``channels`` · ``width``, rounded to the nearest multiple of 8 and at least 8.

    A width of 1 leaves the number as it is.
    """
    return channels if width == 1 else max(8, int(channels * width / 8 + 0.5) * 8)


def conv3x3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Module:
    """3x3 convolution without bias, padding 1: [T, N, inputs, H, W] to [T, N, outputs, ...]."""
    return cast(
        nn.Module,
        layer.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False, step_mode="m"),
    )


def conv1x1(inputs: int, outputs: int, *, stride: int = 1) -> nn.Module:
    """1x1 convolution without bias: [T, N, inputs, H, W] to [T, N, outputs, ...]."""
    return cast(
        nn.Module, layer.Conv2d(inputs, outputs, 1, stride=stride, bias=False, step_mode="m")
    )


def norm2d(channels: int) -> nn.Module:
    """Batch norm of maps, statistics over T, N, H and W."""
    return cast(nn.Module, layer.BatchNorm2d(channels, step_mode="m"))


def norm1d(features: int) -> nn.Module:
    """Batch norm of features [T, N, features], statistics over T and N."""
    return cast(nn.Module, layer.BatchNorm1d(features, step_mode="m"))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """Linear layer on [T, N, inputs]."""
    return cast(nn.Module, layer.Linear(inputs, outputs, bias=bias, step_mode="m"))


def multi_step(network: nn.Module) -> nn.Module:
    """``network`` with all of its SpikingJelly layers set to multi-step mode, in place."""
    functional.set_step_mode(network, "m")
    return network


def average_pool() -> nn.Module:
    """2x2 average pooling, stride 2."""
    return cast(nn.Module, layer.AvgPool2d(2, step_mode="m"))


def max_pool() -> nn.Module:
    """2x2 max pooling, stride 2."""
    return cast(nn.Module, layer.MaxPool2d(2, step_mode="m"))


def global_average_pool() -> nn.Module:
    """Mean over the map: [T, N, C, H, W] to [T, N, C, 1, 1]."""
    return cast(nn.Module, layer.AdaptiveAvgPool2d(1, step_mode="m"))
