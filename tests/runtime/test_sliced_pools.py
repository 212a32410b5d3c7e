"""Sliced max pooling is max pooling, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from microglia.runtime import accelerate


@pytest.mark.parametrize("kernel", [2, 3, (2, 3), (1, 2)])
@pytest.mark.parametrize("stride", [None, 1, 2, (3, 2)])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (3, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_equals_torch(kernel: Any, stride: Any, size: Any, channels_last: bool) -> None:
    slow = nn.MaxPool2d(kernel, stride)
    fast = accelerate(slow)
    assert type(fast) is not type(slow)
    x = torch.randn(4, 5, *size)
    x[0, 0, 0, 0] = -torch.inf
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    given = x.clone()
    assert torch.equal(slow(x), fast(x))
    assert torch.equal(slow(x[0]), fast(x[0]))
    assert torch.equal(x, given)


def test_nan_is_passed_on() -> None:
    x = torch.full((1, 1, 4, 4), torch.nan)
    assert accelerate(nn.MaxPool2d(2))(x).isnan().all()


@pytest.mark.parametrize("mode", ["s", "m"])
def test_it_equals_spikingjelly(mode: str) -> None:
    slow = layer.MaxPool2d(2, step_mode=mode)
    fast = accelerate(slow)
    assert type(fast) is not type(slow)
    x: Tensor = torch.randn(3, 2, 5, 6, 7)
    x = x if mode == "m" else x[0]
    assert torch.equal(slow(x), fast(x))


def test_other_devices_take_torchs_own_way() -> None:
    x = torch.empty(3, 2, 5, 6, 8, device="meta")
    assert accelerate(layer.MaxPool2d(2, step_mode="m"))(x).shape == (3, 2, 5, 3, 4)


def test_a_window_larger_than_the_map_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than the map"):
        accelerate(nn.MaxPool2d(4))(torch.rand(1, 1, 3, 3))


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(1, 2),
        nn.MaxPool2d(3, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        type("Own", (nn.MaxPool2d,), {})(2),
    ],
)
def test_others_are_left_alone(pool: nn.Module) -> None:
    assert type(accelerate(pool)) is type(pool)
