"""Pair-based spike timing for the weights between neurons, of a layer or recurrent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from microglia.errors import ConfigError, TrainingError
from microglia.training.stdp import ENDLESS, draw_time_constants


@dataclass(frozen=True, kw_only=True)
class PairSTDPConfig:
    """What every pair of a spike that arrives and one that leaves does to the weight between them.

        Δw_ij = Σ_t [ A₊ (1 − w_ij / w_max) x_j(t) S_i(t) − A₋ (w_ij / w_max) y_i(t) P_j(t) ]

    P are the spikes that arrive and S those that leave, x the trace of P up to and with t,
    x ← x − x / τ₊ + P, and y that of S before t, with τ₋. One that arrives at the step of one that
    leaves came in time to cause it. `potentiation` is A₊, `depression` A₋; a batch's changes are
    averaged over its samples. Soft bounds keep weights in [0, `maximum`].

    `spread` 0 is the homogeneous rule. Above 0 each neuron has time constants of its own, from a
    gamma distribution of means τ₊ and τ₋ and of that coefficient of variation (at least 1 step):
    heterogeneous STDP.

    Raises ConfigError for a value out of range.
    Source: Song, Miller and Abbott, 2000; soft bounds in both directions as in Rubin, Lee and
    Sompolinsky, 2001.
    """

    potentiation: float = 0.01
    depression: float = 0.01
    tau_plus: float = 10.0
    tau_minus: float = 10.0
    maximum: float = 1.0
    spread: float = 0.0
    epochs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid, wanted in (
            ("potentiation", 0 <= self.potentiation < 1, "in [0, 1)"),
            ("depression", 0 <= self.depression < 1, "in [0, 1)"),
            ("tau_plus", self.tau_plus >= 1, "at least 1 timestep"),
            ("tau_minus", self.tau_minus >= 1, "at least 1 timestep"),
            ("maximum", self.maximum > 0, "above 0"),
            ("spread", self.spread >= 0, "at least 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
        ):
            if not valid:
                raise ConfigError(f"stdp.{name}: wanted {wanted}, got {getattr(self, name)}")


Run = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Inputs to the spikes that arrive at the weights and those that leave: [T, N, in], [T, N, out]."""


def train_pair_stdp(
    weight: Tensor, run: Run, batches: Iterable[Tensor], *, config: PairSTDPConfig
) -> None:
    """Change a weight [out, in] in place by the timing of spikes, without labels.

    Weights above 0 learn; inhibitory ones and connections that aren't there stay as they are.

    Args:
        weight: of a linear layer, or the recurrent one; a part of a larger weight may be given.
        run: the network, started from rest; called for each batch, with the weights as they are.
            Of a recurrent layer with spikes S it returns `recurrent_pairs(S)`.

    Raises:
        ConfigError: no batch, a weight above the maximum, or shapes that don't fit together.
        TrainingError: no pair of spikes met at any weight that learns.
    """
    batches = list(batches)
    if not batches:
        raise ConfigError("stdp: no batch")
    w = weight.detach()
    if float(w.max()) > config.maximum:
        raise ConfigError(f"stdp.maximum: a weight is {float(w.max()):g}, above {config.maximum}")
    plastic, met = w > 0, False
    taus = _both_time_constants(w, config)
    for _ in range(config.epochs):
        for batch in batches:
            with torch.no_grad():
                arriving, leaving = run(batch)
            _check(arriving, leaving, w)
            change = _change(w, arriving.to(w), leaving.to(w), taus, config)
            change = change.where(plastic, torch.zeros_like(change))
            met = met or bool(change.any())
            w.copy_((w + change).where(~plastic, (w + change).clamp(0, config.maximum)))
    if not met:
        raise TrainingError("stdp: no pair of spikes met at any weight above 0")


def recurrent_pairs(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """A recurrent layer's spikes [T, N, H] as they arrive, a timestep later, and as they leave."""
    return torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]]), spikes


def _change(
    w: Tensor,
    arriving: Tensor,
    leaving: Tensor,
    taus: tuple[Tensor, Tensor],
    config: PairSTDPConfig,
) -> Tensor:
    """The mean over samples of what all pairs ask for."""
    from spikingjelly.activation_based.functional.learning import stdp_linear_step

    x, y = torch.zeros_like(arriving[0]), torch.zeros_like(leaving[0])
    total = torch.zeros_like(w)
    for arrives, leaves in zip(arriving, leaving, strict=True):
        x, y = x - x / taus[0], y - y / taus[1]
        # The library's step lets a spike meet its own step's, of which only one may count.
        change, (x, y) = stdp_linear_step(
            arrives,
            leaves,
            (x, y - leaves),
            w,
            tau_pre=ENDLESS,
            tau_post=ENDLESS,
            f_pre=lambda w: config.depression * w / config.maximum,
            f_post=lambda w: config.potentiation * (1 - w / config.maximum),
        )
        y = y + leaves
        total += change
    return total / arriving.shape[1]


def _both_time_constants(w: Tensor, config: PairSTDPConfig) -> tuple[Tensor, Tensor]:
    """τ₊ of each neuron that spikes arrive from, τ₋ of each that they leave."""
    rows, columns = w.shape
    plus, minus = (
        draw_time_constants(count, tau, spread=config.spread, seed=seed).to(w)
        for count, tau, seed in (
            (columns, config.tau_plus, 2 * config.seed),
            (rows, config.tau_minus, 2 * config.seed + 1),
        )
    )
    return plus, minus


def _check(arriving: Tensor, leaving: Tensor, w: Tensor) -> None:
    rows, columns = w.shape
    shapes = tuple(arriving.shape), tuple(leaving.shape)
    fit = arriving.dim() == leaving.dim() == 3 and shapes[0][:2] == shapes[1][:2]
    if not fit or (shapes[1][2], shapes[0][2]) != (rows, columns):
        raise ConfigError(
            f"stdp: a weight of [{rows}, {columns}] wants spikes [T, N, {columns}] that arrive and "
            f"[T, N, {rows}] that leave, got {list(shapes[0])} and {list(shapes[1])}"
        )
