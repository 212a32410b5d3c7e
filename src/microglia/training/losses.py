"""What a network is to minimise, beside a pruner's penalty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.errors import TrainingError
from microglia.frameworks import first_tensor, spiking_neurons
from microglia.training.config import TrainingConfig
from microglia.training.logits import average_over_time


def classification_loss(output: Tensor, labels: Tensor, config: TrainingConfig) -> Tensor:
    """The config's loss of logits z, [N, classes] or [T, N, classes], for labels y [N]:

        cross-entropy:  CE(mean over t of z_t, y)                        (STBP's)
        tet:            mean over t of (1 − λ) · CE(z_t, y) + λ · MSE(z_t, 1)
        mse-rate:       mean over samples of Σ_c (mean over t of z_t,c − 1[c = y])²

    with λ = `tet_share`. Source: Deng et al., "Temporal Efficient Training of Spiking Neural
    Network via Gradient Re-weighting", ICLR 2022 (tet, its φ at the threshold of 1).

    Raises:
        TrainingError: tet, and the network averages over time itself.
    """
    smoothing = config.label_smoothing
    if config.loss == "tet":
        if output.ndim != 3:
            raise TrainingError(
                "training.loss = 'tet' wants logits of each timestep, [T, N, classes]; the network "
                f"gave {list(output.shape)}. Return them without the mean over time."
            )
        steps = output.flatten(0, 1)
        each = F.cross_entropy(steps, labels.repeat(len(output)), label_smoothing=smoothing)
        return (1 - config.tet_share) * each + config.tet_share * (steps - 1).square().mean()
    logits = average_over_time(output)
    if config.loss == "mse-rate":
        wanted = F.one_hot(labels, logits.shape[1]).to(logits)
        return (logits - wanted).square().sum(1).mean()
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


@contextmanager
def firing_rate(model: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Inside the block a function that gives the mean firing of what ran there, with its gradient.

        R = mean over neurons, samples and timesteps of S

    Source: Deng et al., "Comprehensive SNN Compression Using ADMM Optimization and Activity
    Regularization", TNNLS 2021.
    """
    fired: list[Tensor] = []

    def collect(module: nn.Module, args: Any, output: Any) -> None:
        fired.append(first_tensor(output))

    handles = [n.register_forward_hook(collect) for n in spiking_neurons(model).values()]
    try:
        yield lambda: torch.stack([s.sum() for s in fired]).sum() / sum(s.numel() for s in fired)
    finally:
        for handle in handles:
            handle.remove()
