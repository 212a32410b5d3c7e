"""The layers that our networks are made of: SpikingJelly's, in multi-step mode [T, N, ...]."""

import math
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

from microglia.networks.alif import ALIFNode

KINDS = ("lif", "if", "plif", "alif")
SURROGATES = {
    "sigmoid": surrogate.Sigmoid,
    "atan": surrogate.ATan,
    "triangle": surrogate.PiecewiseQuadratic,
}
RESETS = ("hard", "soft")
NORMS = ("bn", "tdbn", "tebn")


@dataclass(frozen=True)
class Neuron:
    """Which spiking neuron a network is built with; calling it makes one.

    With X the input current, H the membrane potential before reset, S the spike, V after reset:

        if:         H = V + X
        lif, plif:  H = V + (X − V) / τ          (plif learns τ, one per layer)
        alif:       as lif, with a threshold that rises with each spike by β, and falls back with
                    the time constant τ_a (see `ALIFNode`)
        S = 1[H ≥ 1],   V = H · (1 − S) (hard reset to 0) or H − S (soft)

    The reset is detached in the backward pass, unless ``detach_reset`` is False. There the step has
    the slope of its surrogate, of width about 1/α:

        sigmoid:   α · σ(αx) · (1 − σ(αx))
        atan:      α / 2 / (1 + (π α x / 2)²)
        triangle:  max(0, α − α² · |x|)          with x = H − 1

    Raises ConfigError where a word is unknown, τ ≤ 1, α ≤ 0, β < 0 or τ_a < 1.
    Source: SCA (Li et al., ICML 2024), equations 1 to 3; SpikingJelly's surrogates.
    """

    kind: str = "lif"
    tau: float = 2.0
    alpha: float = 4.0
    surrogate: str = "sigmoid"
    reset: str = "hard"
    detach_reset: bool = True
    beta: float = 0.2
    tau_a: float = 4.0

    def __post_init__(self) -> None:
        for name, word, known in (
            ("neuron", self.kind, KINDS),
            ("surrogate", self.surrogate, tuple(SURROGATES)),
            ("reset", self.reset, RESETS),
        ):
            if word not in known:
                raise ConfigError(f"{name}: '{word}' is unknown.{nearest(word, list(known))}")
        if not self.tau > 1:
            raise ConfigError(f"tau: the time constant must be above 1 time step, got {self.tau}")
        if not self.alpha > 0:
            raise ConfigError(f"alpha: the surrogate's slope must be above 0, got {self.alpha}")
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"beta: the threshold must rise by at least 0, got {self.beta}")
        if not 1 <= self.tau_a < math.inf:
            raise ConfigError(
                f"tau_a: the threshold's time constant must be at least 1 time step, "
                f"got {self.tau_a}"
            )

    def __call__(self) -> nn.Module:
        step = SURROGATES[self.surrogate](alpha=self.alpha)
        if self.kind == "alif":
            soft = self.reset == "soft"
            return cast(
                nn.Module,
                ALIFNode(
                    tau=float(self.tau),
                    surrogate_function=step,
                    soft_reset=soft,
                    detach_reset=self.detach_reset,
                    beta=float(self.beta),
                    tau_a=float(self.tau_a),
                ),
            )
        common = {
            "v_threshold": 1.0,
            "v_reset": 0.0 if self.reset == "hard" else None,
            "surrogate_function": step,
            "detach_reset": self.detach_reset,
            "step_mode": "m",
        }
        if self.kind == "if":
            return cast(nn.Module, nodes.IFNode(**common))
        if self.kind == "lif":
            return cast(nn.Module, nodes.LIFNode(tau=float(self.tau), **common))
        return cast(nn.Module, nodes.ParametricLIFNode(init_tau=float(self.tau), **common))


IF = Neuron("if")
LIF = Neuron("lif")


@dataclass(frozen=True)
class Norm:
    """Which norm stands before the neurons; with batch statistics over T, N and space,

        bn:    y = γ · (x − μ) / σ + β
        tdbn:  the same, γ beginning at α · θ: at the threshold of 1 and α = 1 it is bn, but the
               residual sums of ResNet-19 take α = 1/√2
        tebn:  y_t = k_t · bn(x_t), with k learned for each of T timesteps

    Raises ConfigError where the word is unknown.
    Source: Zheng et al., AAAI 2021 (tdBN); Duan et al., NeurIPS 2022 (TEBN); SpikingJelly's layers.
    """

    kind: str = "bn"
    T: int = 4

    def __post_init__(self) -> None:
        if self.kind not in NORMS:
            raise ConfigError(f"norm: '{self.kind}' is unknown.{nearest(self.kind, list(NORMS))}")

    @property
    def per_step(self) -> bool:
        """Whether it treats timesteps differently, so that its input must have them all."""
        return self.kind == "tebn"

    def maps(self, channels: int, *, alpha: float = 1.0) -> nn.Module:
        """For maps [T, N, channels, H, W]; α is tdbn's."""
        if self.kind == "tdbn":
            return cast(nn.Module, layer.ThresholdDependentBatchNorm2d(alpha, 1.0, channels))
        if self.kind == "tebn":
            return cast(nn.Module, layer.TemporalEffectiveBatchNorm2d(self.T, channels))
        return cast(nn.Module, layer.BatchNorm2d(channels, step_mode="m"))

    def features(self, features: int) -> nn.Module:
        """For features [T, N, features]."""
        if self.kind == "tdbn":
            return cast(nn.Module, layer.ThresholdDependentBatchNorm1d(1.0, 1.0, features))
        if self.kind == "tebn":
            return cast(nn.Module, layer.TemporalEffectiveBatchNorm1d(self.T, features))
        return cast(nn.Module, layer.BatchNorm1d(features, step_mode="m"))


BN = Norm()


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
