"""From a trained network of ReLUs to a spiking one that fires at their rates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.networks.blocks import Network
from microglia.networks.layers import multi_step

try:
    from spikingjelly.activation_based import ann2snn
except ImportError as missing:
    raise ConfigError(
        "conversion stands on SpikingJelly, and it is not installed: "
        "pip install 'microglia[spikingjelly]'"
    ) from missing


class Converted(Network):
    """A converted network: an image shown for T steps, logits [N, classes] averaged over them."""

    def __init__(self, network: nn.Module, *, T: int) -> None:
        super().__init__()
        self.network = network
        self.T = T

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dim() == 5 else x.expand(self.T, *x.shape)
        return self.answer(cast(Tensor, self.network(x)))


def convert(
    ann: nn.Module, batches: Iterable[Any], *, T: int, percentile: float = 99.9
) -> Converted:
    """Replace each ReLU of a trained network by IF neurons with balanced thresholds.

    Norms are folded into the convolutions before them. Of each ReLU the `percentile` of its
    activations on the batches, λ, becomes what firing at every step means: with the current x / λ,
    a threshold of 1 and soft reset, the rate is ReLU(x) / λ up to 1 / T, and λ times it goes on.

    Args:
        ann: a network that `torch.fx` can trace; it is not changed.
        batches: inputs, or (inputs, labels), of the training part.
        T: timesteps.

    Raises:
        ConfigError: a setting out of range, no batch, no ReLU, or a network that can't be traced.
    Source: Diehl et al., IJCNN 2015; Rueckauer et al., 2017; SpikingJelly's converter.
    """
    if T < 1:
        raise ConfigError(f"T: at least 1 expected, got {T}")
    if not 0 < percentile <= 100:
        raise ConfigError(f"percentile: wanted a number in (0, 100], got {percentile}")
    if not any(isinstance(m, nn.ReLU) for m in ann.modules()):
        raise ConfigError(
            f"{type(ann).__name__} has no nn.ReLU module to convert (functions can't be told apart)"
        )
    seen = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in batches]
    if not seen:
        raise ConfigError("convert: no batch; pass some of the training data")
    was_training = ann.training
    recipe = ann2snn.RateCodingRecipe(dataloader=seen, mode=f"{percentile}%")
    try:
        with torch.no_grad():
            network = ann2snn.Converter(recipe=recipe).convert(ann.eval())
    except (torch.fx.proxy.TraceError, TypeError, NotImplementedError) as fault:
        raise ConfigError(f"{type(ann).__name__} can't be converted: {fault}") from fault
    except ValueError as fault:
        if "Threshold" not in str(fault):
            raise
        raise ConfigError(
            f"{type(ann).__name__}: a ReLU gave nothing but zeros on these batches ({fault}); pass "
            "more of the training data"
        ) from fault
    finally:
        ann.train(was_training)
    return Converted(multi_step(network), T=T).eval()
