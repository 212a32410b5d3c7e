"""Learning from a teacher's logits beside the labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.errors import ConfigError, TrainingError
from microglia.frameworks import reset
from microglia.training.logits import average_over_time


@dataclass(frozen=True, eq=False, kw_only=True)
class Distillation:
    """A trained network whose answers a smaller one is to give, softly.

        L = (1 − λ) · cross_entropy + λ · θ² · KL( softmax(z_teacher / θ) ‖ softmax(z / θ) )

    with z the logits averaged over time, λ the `share` and θ the `temperature`; θ² keeps the
    gradient's size. Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015.

    Raises:
        ConfigError: share outside [0, 1], or a temperature that isn't positive.
    """

    teacher: nn.Module
    share: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"distill: wanted a share in [0, 1], got {self.share}")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature: wanted a number above 0, got {self.temperature}")

    def loss(self, inputs: Tensor, logits: Tensor, cross_entropy: Tensor) -> Tensor:
        """L of the class's equation; logits [N, classes] of the network that learns.

        Raises:
            TrainingError: the teacher's logits have another shape.
        """
        reset(self.teacher)
        with torch.no_grad():
            wanted = average_over_time(self.teacher(inputs)).detach()
        if wanted.shape != logits.shape:
            raise TrainingError(
                f"The teacher gives logits {tuple(wanted.shape)}, the network "
                f"{tuple(logits.shape)}; take a teacher of the same classes."
            )
        divergence = F.kl_div(
            F.log_softmax(logits / self.temperature, 1),
            F.log_softmax(wanted / self.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.share) * cross_entropy + self.share * self.temperature**2 * divergence
