"""STDP of pairs: the rule by every pair, order in recurrent networks, what never changes."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from microglia.errors import ConfigError, TrainingError
from microglia.training import PairSTDPConfig, recurrent_pairs, train_pair_stdp

T, N = 12, 3


def spikes(*shape: int, rate: float = 0.3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < rate).double()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("recurrent", [False, True])
def test_every_pair_counts_once(seed: int, recurrent: bool) -> None:
    leaving = spikes(T, N, 4, seed=seed)
    arriving = spikes(T, N, 5, seed=seed + 10)
    if recurrent:
        arriving, leaving = recurrent_pairs(leaving)
    config = PairSTDPConfig(
        potentiation=0.02, depression=0.03, tau_plus=4.0, tau_minus=6.0, maximum=2.0
    )
    torch.manual_seed(seed)
    weight = torch.rand(4, arriving.shape[2], dtype=torch.float64)
    expected = weight.clone()
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            w, change = float(weight[i, j]), 0.0
            for n in range(N):
                before = [int(t) for t in arriving[:, n, j].nonzero()]
                after = [int(t) for t in leaving[:, n, i].nonzero()]
                for s in before:
                    for t in after:
                        if t >= s:
                            change += 0.02 * (1 - w / 2) * (1 - 1 / 4) ** (t - s)
                        else:
                            change -= 0.03 * w / 2 * (1 - 1 / 6) ** (s - t)
            expected[i, j] = w + change / N
    train_pair_stdp(weight, lambda _: (arriving, leaving), [torch.zeros(1)], config=config)
    assert torch.allclose(weight, expected.clamp(0, 2), atol=1e-12)


@pytest.mark.parametrize("spread", [0.0, 0.6], ids=["homogeneous", "heterogeneous"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_recurrent_layer_learns_the_order_that_it_is_shown(seed: int, spread: float) -> None:
    """SpikingJelly's container: a wave runs over its neurons, and the links along it grow."""
    torch.manual_seed(seed)
    size, steps = 6, 18
    recurrent = layer.LinearRecurrentContainer(neuron.IFNode(), size, size, bias=False)
    full = recurrent.rc.weight.detach()
    full.zero_()
    full[:, :size] = 2 * torch.eye(size)  # the input drives, each neuron its own
    links = full[:, size:]
    links.fill_(0.05)

    def run(inputs: Tensor) -> tuple[Tensor, Tensor]:
        functional.reset_net(recurrent)
        return recurrent_pairs(torch.stack([recurrent(x) for x in inputs]))

    wave = torch.eye(size)[torch.arange(steps) % size].unsqueeze(1)
    config = PairSTDPConfig(
        potentiation=0.05, depression=0.05, tau_plus=2.0, tau_minus=2.0, spread=spread, epochs=3
    )
    train_pair_stdp(links, run, [wave], config=config)
    onward = torch.stack([links[(i + 1) % size, i] for i in range(size)])
    backward = torch.stack([links[i, (i + 1) % size] for i in range(size)])
    assert onward.min() > backward.max()
    assert torch.equal(full[:, :size], 2 * torch.eye(size)), "the input's weights were not given"


def test_a_recurrent_layer_of_snntorch() -> None:
    torch.manual_seed(0)
    cell = snntorch.RLeaky(beta=0.5, linear_features=5, reset_mechanism="zero")
    weight = cell.recurrent.weight
    inhibitory = weight.detach().clone() < 0

    def run(inputs: Tensor) -> tuple[Tensor, Tensor]:
        spike, potential = cell.init_rleaky()
        found = []
        for x in inputs:
            spike, potential = cell(x, spike, potential)
            found.append(spike)
        return recurrent_pairs(torch.stack(found))

    before = weight.detach().clone()
    train_pair_stdp(weight, run, [2 * torch.rand(20, 4, 5)], config=PairSTDPConfig())
    assert torch.equal(weight[inhibitory], before[inhibitory])
    assert not torch.equal(weight[~inhibitory], before[~inhibitory])


def test_connections_that_are_not_there_stay_away_and_bounds_hold() -> None:
    trains = spikes(40, N, 8, rate=0.5)
    weight = nn.Parameter(torch.rand(8, 8, dtype=torch.float64))
    with torch.no_grad():
        weight[weight < 0.5] = 0
    absent = weight.detach() == 0
    config = PairSTDPConfig(potentiation=0.9, depression=0.9, epochs=5)
    train_pair_stdp(weight, lambda _: recurrent_pairs(trains), [trains], config=config)
    assert bool((weight[absent] == 0).all())
    low, high = weight.detach().aminmax()
    assert 0 <= float(low) <= float(high) <= 1


def test_time_constants_are_drawn_by_the_seed() -> None:
    trains = spikes(T, N, 6)
    found = []
    for seed in (1, 1, 2):
        weight = torch.full((6, 6), 0.5, dtype=torch.float64)
        config = PairSTDPConfig(spread=0.5, seed=seed)
        train_pair_stdp(weight, lambda _: recurrent_pairs(trains), [trains], config=config)
        found.append(weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_what_is_refused() -> None:
    trains, weight = spikes(T, N, 6), torch.full((6, 6), 0.5, dtype=torch.float64)
    config = PairSTDPConfig()

    def refused(error: type[Exception], match: str, **change: Any) -> None:
        given = {"weight": weight, "run": recurrent_pairs, "batches": [trains], **change}
        with pytest.raises(error, match=match):
            train_pair_stdp(**given, config=config)

    refused(ConfigError, "no batch", batches=[])
    refused(ConfigError, "maximum: a weight is 3", weight=torch.full((6, 6), 3.0))
    refused(ConfigError, r"\[T, N, 6\] that arrive", run=lambda x: (x[..., :3], x))
    refused(TrainingError, "no pair", run=lambda x: (0 * x, 0 * x))
    refused(TrainingError, "no pair", weight=-weight)
    for name in ("potentiation", "depression", "tau_plus", "tau_minus", "maximum", "spread"):
        with pytest.raises(ConfigError, match=f"stdp.{name}"):
            PairSTDPConfig(**{name: -1.0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"stdp\.epochs"):
        PairSTDPConfig(epochs=0)
