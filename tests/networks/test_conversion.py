"""A converted network fires at the rates of the ReLUs it came from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.data import Batches, load_splits
from microglia.errors import ConfigError
from microglia.metrics import measure_accuracy
from microglia.networks.conversion import convert


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def trained(seed: int, batches: Batches) -> nn.Module:
    ann = network(seed)
    optimizer = torch.optim.Adam(ann.parameters(), 3e-3)
    for _ in range(4):
        for x, labels in batches:
            optimizer.zero_grad()
            cross_entropy(ann(x), labels).backward()
            optimizer.step()
    return ann.eval()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_digits_lose_at_most_one_point_at_64_timesteps(seed: int) -> None:
    data = load_splits("digits")
    ann = trained(seed, Batches(data.train, batch_size=64, seed=seed))
    before = {name: value.clone() for name, value in ann.state_dict().items()}
    calibration = list(Batches(data.train, batch_size=200, shuffle=False))
    test = Batches(data.test, batch_size=100, shuffle=False)
    wanted = measure_accuracy(ann, test)
    assert wanted > 0.9
    accuracies = {T: measure_accuracy(convert(ann, calibration, T=T), test) for T in (1, 64)}
    assert accuracies[64] >= wanted - 0.01
    assert accuracies[1] < accuracies[64], "one step can't say rates"
    assert not ann.training
    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())


def test_rates_approach_the_activations() -> None:
    ann, x = network(0).eval(), torch.randn(6, 1, 8, 8)
    errors = []
    with torch.no_grad():
        for T in (8, 64, 512):
            snn = convert(ann, [x], T=T, percentile=100.0)
            mg.reset(snn)
            errors.append(float((snn(x) - ann(x)).abs().max() / ann(x).std()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.05


def test_it_is_pruned_as_any_spiking_network() -> None:
    x = torch.randn(6, 1, 8, 8)
    snn = convert(network(0), [x], T=4)
    pruner = mg.Magnitude(snn, sparsity=0.5, example_input=x, linear=True)
    pruner.calibrate()
    small = pruner.compact()
    assert small.certificate is not None
    assert small.certificate.spikes > 0
    assert sum(pruner.kept().values()) == 56


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"T": 0}, "T: at least 1"),
        ({"percentile": 0.0}, "percentile"),
        ({"percentile": 101.0}, "percentile"),
        ({"batches": []}, "no batch"),
        ({"ann": nn.Sequential(nn.Linear(2, 2), nn.Tanh())}, "no nn.ReLU"),
        ({"ann": Branches()}, "Branches can't be converted"),
    ],
)
def test_what_cannot_be_converted(settings: dict[str, Any], message: str) -> None:
    settings = {"ann": network(0), "batches": [torch.zeros(2, 1, 8, 8)], "T": 4} | settings
    with pytest.raises(ConfigError, match=message):
        convert(settings.pop("ann"), settings.pop("batches"), **settings)


def test_a_relu_that_never_speaks_is_named() -> None:
    silent = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(silent[0].bias, -100.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="nothing but zeros"):
        convert(silent, [torch.rand(5, 3)], T=4)
