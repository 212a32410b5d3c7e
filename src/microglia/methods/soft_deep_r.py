"""Soft Deep R: synapses that walk at random until they grow again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.methods.signed import SignedPruner


class SoftDeepR(SignedPruner):
    """Soft deep rewiring: active synapses learn, dormant ones wander.

        θ > 0    θ ← θ - η s dL/dw - η α + √(2 η T) ν        ν ~ N(0, 1), w = s θ
        θ ≤ 0    θ ← max(θ + √(2 η T) ν, θ_min)              w = 0
                 θ_min = -T (1 - p) / (α p)

    The noise is that of synaptic sampling, at temperature T: synapses that learn nothing have the
    Boltzmann distribution of the L1 prior above zero and an even one below, of which the fraction
    p, `density`, is active. A synapse's sign never flips. The gradient's step is the optimizer's,
    whatever it is; its momentum and weight decay don't move dormant synapses either.

    Args:
        temperature: T; at 0 nothing that is dormant grows again.
        The others: see `SignedPruner`.

    Source: Bellec et al., "Deep rewiring: training very sparse deep networks", ICLR 2018, with the
    noise of Kappel et al., "Network plasticity as Bayesian inference", PLOS Computational Biology
    2015. Signs are those of the weights as they were drawn (the paper draws them), the network
    starts dense, and what the settings are by default is this package's choice.
    """

    name = "soft-deep-r"
    source = "Bellec et al., ICLR 2018"
    leaning = 0.1  # the rest is of synapses that have learned, or have just grown

    def __init__(self, model: nn.Module, *, temperature: float = 1e-4, **settings: Any) -> None:
        check_temperature(temperature)
        self.temperature = temperature
        super().__init__(model, **settings)

    def _slope(self, name: str, hidden: Tensor, gradient: Tensor) -> Tensor:
        return gradient * (hidden * self._sign(name, hidden) > 0)

    def _push(self, name: str, hidden: Tensor, rate: float) -> Tensor:
        sign = self._sign(name, hidden)
        before = self._theta[name] * sign
        theta = torch.where(before > 0, hidden * sign, before)
        if self.steps > self.schedule.warmup:
            pull = rate * self.strength
            walk = noise(hidden, rate, self.temperature, self.generator)
            p = self._leans_to(name)
            lowest = -self.temperature * (1 - p) / (self.strength * p) if pull else -math.inf
            active = theta - pull + walk
            theta = torch.where(before > 0, active, (theta + walk).clamp(min=lowest))
        return theta * sign


def noise(like: Tensor, rate: float, temperature: float, generator: torch.Generator) -> Tensor:
    """√(2 η T) ν for each weight."""
    if not temperature:
        return torch.zeros_like(like)
    drawn = torch.randn(like.shape, generator=generator)
    return drawn.to(like) * math.sqrt(2 * rate * temperature)


def check_temperature(temperature: float) -> None:
    """Refuse one below zero.

    Raises:
        ConfigError: it is.
    """
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"temperature is that of a random walk, at least 0; got {temperature!r}")
