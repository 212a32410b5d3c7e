"""Laws of synapses and SynOps where masks close neurons: a count by loops says the same."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from spiking_networks import TwoConvs, batches, excite
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from microglia.frameworks import put_mask, reset
from microglia.metrics import count_operations, measure
from microglia.metrics.synapses import fan_out

Shape = tuple[int, ...]


def mask_of(shape: Shape, kept: float, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < kept


def connections(conv: nn.Conv2d, x: Tensor, met: Tensor, seen: Tensor) -> tuple[int, int]:
    """(those that masks leave, how often non-zero inputs x [N, C, H, W] use them), by loops."""
    there = used = 0
    (stride, _), (pad, _), outs = conv.stride, conv.padding, conv.out_channels // conv.groups
    for o, i, j in product(*map(range, seen.shape)):
        for c, a, b in product(*map(range, conv.weight.shape[1:])):
            channel = o // outs * conv.weight.shape[1] + c
            h, w = i * stride - pad + a, j * stride - pad + b
            inside = 0 <= h < met.shape[1] and 0 <= w < met.shape[2]
            if inside and seen[o, i, j] and met[channel, h, w] and conv.weight[o, c, a, b] != 0:
                there += 1
                used += int((x[:, channel, h, w] != 0).sum())
    return there, used


def inputs_of(model: nn.Module, x: Tensor, *layers: nn.Module) -> list[Tensor]:
    """What each layer is given over all timesteps."""
    given: dict[nn.Module, list[Tensor]] = {each: [] for each in layers}
    hooks = [
        each.register_forward_hook(lambda m, args, out: given[m].append(args[0])) for each in layers
    ]
    with torch.no_grad():
        reset(model)
        model(x)
    for hook in hooks:
        hook.remove()
    return [torch.cat(given[each]) for each in layers]


@pytest.mark.parametrize("way", ["multi", "single", "once"])
@pytest.mark.parametrize(("seed", "kept"), [(0, 0.5), (1, 0.1), (2, 0.9)])
def test_connections_from_and_to_closed_neurons_do_not_count(
    way: str, seed: int, kept: float
) -> None:
    torch.manual_seed(seed)
    model = TwoConvs(way, T=3).eval()
    excite(model, seed=seed)
    for conv in (model.conv1, model.conv2):
        conv.weight.data *= torch.rand_like(conv.weight) < 0.7
    data = batches(seed=seed, sizes=(2,), shape=(2, 8, 8))
    m1, m2 = mask_of((4, 8, 8), kept, seed), mask_of((6, 2, 2), kept, seed + 9)
    put_mask(model.lif1, m1)
    put_mask(model.lif2, m2)

    operations = {each.name: each for each in count_operations(model, data).layers}

    x1, x2, x3 = inputs_of(model, data[0][0], model.conv1, model.conv2, model.fc)
    executed = operations["conv1"].repeats if way != "once" else 1
    n = len(data[0][1])
    there, used = connections(model.conv1, x1.flatten(0, -4), torch.ones(2, 8, 8), m1)
    assert operations["conv1"].synapses == there
    assert operations["conv1"].multiply_accumulates * executed * n == used
    met = nn.functional.max_pool2d(m1[None].float(), 2)[0] > 0
    there, used = connections(model.conv2, x2.flatten(0, -4), met, m2)
    assert operations["conv2"].synapses == there
    conv2 = operations["conv2"].accumulates + operations["conv2"].multiply_accumulates
    assert conv2 * n == pytest.approx(used)
    weights = (model.fc.weight != 0).sum(0)
    assert operations["fc"].synapses == int((weights * m2.flatten()).sum())
    assert operations["fc"].accumulates * n == pytest.approx(int((weights * (x3 != 0)).sum()))


@pytest.mark.parametrize("seed", [0, 1])
def test_masks_that_close_nothing_change_no_figure(seed: int) -> None:
    torch.manual_seed(seed)
    model = TwoConvs("multi", T=2)
    excite(model, seed=seed)
    model.bn1.weight.data[0] = 0.0  # who sees it can't be told by a number that it scales
    data = batches(seed=seed, shape=(2, 8, 8))
    before = measure(model, data, latency_repeats=0).summary()
    put_mask(model.lif1, torch.ones(4, 8, 8, dtype=torch.bool))
    after = measure(model, data, latency_repeats=0)
    assert {**after.summary(), "bytes": 0} == {**before, "bytes": 0}
    model.lif1.neuron_mask[1:3] = False
    closed = measure(model, data, latency_repeats=0)
    assert closed.activity.masked == 2 * 64
    assert closed.summary()["open_neurons"] == before["neurons"] - 2 * 64
    assert closed.activity.dead >= 2 * 64
    assert "128 masked" in str(closed)


class Streams(nn.Module):
    """Who sees a convolution beside a masked neuron: a shortcut, a layer, a neuron after a pool."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.a, self.b = layer.Conv2d(2, 3, 3, padding=1), layer.Conv2d(3, 3, 3, padding=1)
        self.sn, self.sn2 = neuron.IFNode(v_threshold=0.1), neuron.IFNode(v_threshold=0.1)
        self.fc = layer.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.way == "raw":
            z = y + self.b(self.sn(y))
        elif self.way == "layer":
            z = self.b(y) - self.sn(y)
        elif self.way == "pooled":
            z = self.b(self.sn(nn.functional.max_pool2d(y, 2)))
        else:
            z = self.b(self.sn(y))
            z = z - self.sn(z)  # a masked layer whose spikes are taken from its own current
        return self.fc(self.sn2(z).mean((-1, -2)))


@pytest.mark.parametrize("way", ["raw", "layer", "pooled", "shared"])
def test_what_somebody_else_sees_counts(way: str) -> None:
    torch.manual_seed(0)
    model, x = Streams(way), torch.rand(2, 2, 6, 6)
    side = 3 if way == "pooled" else 6
    mask = mask_of((3, side, side), 0.4, 0)
    put_mask(model.sn, mask)
    operations = count_operations(model, [(x, torch.zeros(2, dtype=torch.long))], T=1)
    first, second, _ = operations.layers
    whole = fan_out(model.a, x.shape[2:], x.shape[2:])
    if way == "shared":
        assert first.synapses == int(fan_out(model.a, *[x.shape[2:]] * 2, mask).sum())
    else:
        assert first.synapses == int(whole.sum())
    space = mask.shape[1:]
    met = torch.ones_like(mask) if way == "layer" else mask
    assert second.synapses == int((fan_out(model.b, space, space) * met).sum())


def test_a_silent_input_is_no_closed_one() -> None:
    torch.manual_seed(0)
    model = TwoConvs("multi", T=2)
    put_mask(model.lif2, mask_of((6, 2, 2), 0.5, 0))
    x = torch.zeros(2, 2, 8, 8)
    first, *_ = count_operations(model, [(x, torch.zeros(2, dtype=torch.long))]).layers
    assert first.synapses == int(fan_out(model.conv1, x.shape[2:], x.shape[2:]).sum())


@pytest.mark.parametrize("pool", [layer.MaxPool2d(2), layer.AvgPool2d(2)])
def test_masks_that_close_nothing_change_no_count_before_a_pool(pool: nn.Module) -> None:
    """A mask elsewhere has the shape of a map that a neuron layer sees pooled."""
    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Conv2d(2, 3, 3, padding=1),
        neuron.IFNode(v_threshold=0.1),
        layer.Conv2d(3, 3, 3, padding=1),
        pool,
        neuron.IFNode(v_threshold=0.1),
        layer.Flatten(),
        layer.Linear(27, 4),
    )
    data = [(torch.rand(3, 2, 6, 6), torch.zeros(3, dtype=torch.long))]
    before = count_operations(model, data, T=1).layers
    put_mask(model[1], torch.ones(3, 6, 6, dtype=torch.bool))
    after = count_operations(model, data, T=1).layers
    assert [(each.synapses, each.accumulates) for each in after] == [
        (each.synapses, each.accumulates) for each in before
    ]
