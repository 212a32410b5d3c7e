"""Features of a layer learned without labels, by spike timing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.errors import ConfigError, TrainingError

ENDLESS = 1e30  # the library's step is given traces that have decayed already


@dataclass(frozen=True, kw_only=True)
class STDPConfig:
    """Spike-timing dependent plasticity of one layer, among neurons that compete.

    At each timestep the layer's neurons add up their current, with weights of unit length; of those
    at one place that reach the threshold θ + θ_c the one furthest above fires, and silences that
    place for the rest of the sample. Every spike of neuron c changes its weights by

        Δw = rate · (x − target),   then w in [0, 1]

    where x is the trace of the input, x ← x − x / τ + S. Inputs that fired of late are
    strengthened, the others weakened. θ_c rises where c fires more than its share, by
    `homeostasis`.

    `spread` 0 is the homogeneous rule, one τ for all inputs. Above 0 each input has a τ of its own
    from a gamma distribution of mean τ and of that coefficient of variation (at least 1 step):
    heterogeneous STDP.

    Raises ConfigError for a value out of range.
    Source: the trace rule of Diehl and Cook, 2015; competition as in Kheradpisheh et al., 2018.
    Chakraborty et al., 2023, learn heterogeneous time constants; here they are drawn.
    """

    threshold: float = 1.0
    rate: float = 0.02
    target: float = 0.3
    tau: float = 4.0
    spread: float = 0.0
    homeostasis: float = 0.005
    epochs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid, wanted in (
            ("threshold", self.threshold > 0, "above 0"),
            ("rate", 0 < self.rate < 1, "in (0, 1)"),
            ("target", 0 <= self.target < 1, "in [0, 1)"),
            ("tau", self.tau >= 1, "at least 1 timestep"),
            ("spread", self.spread >= 0, "at least 0"),
            ("homeostasis", self.homeostasis >= 0, "at least 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
        ):
            if not valid:
                raise ConfigError(f"stdp.{name}: wanted {wanted}, got {getattr(self, name)}")


def train_stdp(
    layer: nn.Conv2d | nn.Linear, batches: Iterable[Tensor], *, config: STDPConfig
) -> Tensor:
    """Train the weights of a layer in place, without labels; the thresholds [C] it ended with.

    Weights lie in [0, 1]; what a layer brings beyond is cut off at the start.

    Args:
        layer: a convolution without padding, dilation or groups, or a linear layer; no bias.
        batches: spikes [T, N, ...] as they enter the layer; iterated once an epoch.

    Raises:
        ConfigError: a layer of another kind, no batch, or one that isn't its spikes.
        TrainingError: no neuron ever fired.
    """
    weights = _as_filters(layer)
    batches = [_as_maps(batch, layer).detach() for batch in batches]
    if not batches:
        raise ConfigError("stdp: no batch")
    w = weights.detach().clone().clamp_(0, 1)
    rise = torch.zeros(len(w), device=w.device)
    taus = draw_time_constants(
        batches[0][0, 0].shape, config.tau, spread=config.spread, seed=config.seed
    ).to(w)
    fired = torch.zeros(len(w), device=w.device)
    for _ in range(config.epochs):
        for batch in batches:
            change, count = _sample(w, batch, config.threshold + rise, taus, config)
            active = count > 0
            step = config.rate * change[active] / count[active].reshape(-1, 1, 1, 1)
            w[active] = (w[active] + step).clamp_(0, 1)
            if active.any():
                rise += config.homeostasis * (len(w) * count / count.sum() - 1)
            fired += count
    if not fired.any():
        raise TrainingError(
            f"stdp: no neuron ever fired; lower stdp.threshold (now {config.threshold})"
        )
    with torch.no_grad():
        weights.copy_(w)
    return config.threshold + rise


def stdp_features(layer: nn.Conv2d | nn.Linear, spikes: Tensor, *, threshold: Tensor) -> Tensor:
    """How many timesteps each neuron of the layer is at its threshold, without competition.

    Spikes [T, N, ...] to [N, C, H, W], or [N, C] of a linear layer; the threshold is one number, or
    [C]. Raises ConfigError for what isn't the layer's spikes.
    """
    filters = _unit(_as_filters(layer).detach())
    current = torch.stack([F.conv2d(x, filters) for x in _as_maps(spikes, layer)])
    at = current.cumsum(0) >= torch.as_tensor(threshold).reshape(-1, 1, 1)
    total = at.to(spikes.dtype).sum(0)
    return total if isinstance(layer, nn.Conv2d) else total.flatten(1)


def _sample(
    w: Tensor, spikes: Tensor, threshold: Tensor, taus: Tensor, config: STDPConfig
) -> tuple[Tensor, Tensor]:
    """The sum of changes that a batch asks for, and the spikes of each neuron."""
    from spikingjelly.activation_based.functional.learning import stdp_conv2d_step

    filters = _unit(w)
    potential = F.conv2d(torch.zeros_like(spikes[0]), filters)
    free = torch.ones_like(potential[:, :1])
    trace, unused = torch.zeros_like(spikes[0]), torch.zeros_like(potential)
    change, count = torch.zeros_like(w), torch.zeros_like(threshold)
    for x in spikes:
        potential = potential + F.conv2d(x, filters)
        above = potential - threshold.reshape(-1, 1, 1)
        first = torch.zeros_like(above, dtype=torch.bool).scatter_(
            1, above.argmax(1, keepdim=True), True
        )
        wins = first & (above >= 0)
        fires = wins.to(x) * free
        free = free * (1 - fires.amax(1, keepdim=True))
        delta, (shifted, _) = stdp_conv2d_step(
            x,
            fires,
            (trace - trace / taus - config.target, unused),
            w,
            stride=(1, 1),
            tau_pre=ENDLESS,
            tau_post=ENDLESS,
            f_pre=torch.zeros_like,
            f_post=torch.ones_like,
        )
        trace = shifted + config.target
        change += delta
        count += fires.sum((0, 2, 3))
    return change, count


def draw_time_constants(
    shape: torch.Size | int, mean: float, *, spread: float, seed: int
) -> Tensor:
    """Of a gamma distribution of this mean and coefficient of variation, at least 1 step; all the
    mean where `spread` is 0. Global generators are left alone."""
    if not spread:
        return torch.tensor(mean)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        k = 1 / spread**2
        size = torch.Size([shape]) if isinstance(shape, int) else shape
        return torch.distributions.Gamma(k, k / mean).sample(size).clamp(min=1.0)


def _unit(w: Tensor) -> Tensor:
    """Filters of unit length."""
    return F.normalize(w.flatten(1), dim=1).reshape(w.shape)


def _as_filters(layer: nn.Module) -> Tensor:
    """The weights as [C, inputs, height, width]; a view of the layer's own."""
    if isinstance(layer, nn.Linear):
        weights = layer.weight[:, :, None, None]
    elif isinstance(layer, nn.Conv2d):
        plain = (layer.stride, layer.dilation, layer.groups) == ((1, 1), (1, 1), 1)
        if not plain or layer.padding not in (0, (0, 0), "valid"):
            raise ConfigError(
                "stdp: wanted a convolution of stride 1 without padding, dilation or groups, got "
                f"{layer}; pad its input instead"
            )
        weights = layer.weight
    else:
        raise ConfigError(f"stdp: wanted a convolution or a linear layer, got {layer}")
    if layer.bias is not None:
        raise ConfigError("stdp: the layer has a bias, which the rule knows nothing of")
    return weights


def _as_maps(spikes: Tensor, layer: nn.Conv2d | nn.Linear) -> Tensor:
    """[T, N, C, H, W], of a linear layer's [T, N, C] with maps of one pixel."""
    if not isinstance(spikes, Tensor):
        raise ConfigError(
            f"stdp: wanted batches of spikes alone, got a {type(spikes).__name__}; leave the "
            "labels out, [spikes for spikes, _ in batches]"
        )
    convolves = isinstance(layer, nn.Conv2d)
    channels, wanted = layer.weight.shape[1], "[T, N, {0}, H, W]" if convolves else "[T, N, {0}]"
    if spikes.dim() != (5 if convolves else 3) or spikes.shape[2] != channels:
        raise ConfigError(
            f"stdp: wanted spikes {wanted.format(channels)} for {layer}, got {list(spikes.shape)}; "
            "images become spikes by an encoder, such as Batches(..., encoder='latency', T=8)"
        )
    return spikes if convolves else spikes[..., None, None]
