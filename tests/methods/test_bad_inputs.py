"""What a method can't work with is refused, with a word on what to give instead."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import microglia as mg
from microglia.methods import METHODS
from zoo import make

RUN = ["activity", "pca", "sbc"]
"""Methods that score a trained network by what it does."""


class Plain(nn.Module):
    """Two convolutions with neurons and without norms, called once for two timesteps."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(3, 6, 3, padding=1), neuron.LIFNode()
        self.conv2, self.lif2 = nn.Conv2d(6, 4, 3, padding=1), neuron.LIFNode()
        self.fc = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = [self.lif2(self.conv2(self.lif1(self.conv1(x)))) for _ in range(2)]
        return self.fc(torch.stack(steps).mean((0, 3, 4)))


IMAGES = torch.rand(3, 3, 6, 6)


def test_a_network_without_norms_has_no_scales_to_rank() -> None:
    model = Plain()
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=r"norm.*conv1, conv2.*protect=\['conv1', 'conv2'\]"):
        mg.Slimming(model, example_input=IMAGES, sparsity=0.5)
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("name", sorted(n for n, m in METHODS.items() if m.needs == "trained"))
@pytest.mark.parametrize("network", ["chain", "snnTorch"])
def test_a_trained_networks_method_compacts_nothing_uncalibrated(name: str, network: str) -> None:
    model, x = make(network)
    bare = {"chain": ["body.10"], "snnTorch": ["conv2", "fc1"]}[network]  # no norm behind them
    settings = {"protect": bare} if name == "slimming" else {}
    pruner: Any = METHODS[name](model, example_input=x, sparsity=0.5, **settings)
    assert pruner.step() is None
    with pytest.raises(mg.ConfigError, match=rf"'{name}' has pruned nothing.*calibrate\(batches\)"):
        pruner.compact()


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no batch.*training data"),
        (iter(()), "no batch.*training data"),
        (IMAGES, r"got one tensor; pass a list, \[tensor\]"),
        (3, "got a int; pass a list or a loader"),
        (None, "got a NoneType; pass a list or a loader"),
        ([{"x": 3}], "got a dict.*forward="),
        ([None], "got a NoneType.*forward="),
    ],
)
def test_what_are_no_batches_is_refused(name: str, batches: Any, message: str) -> None:
    model = Plain()
    before = copy.deepcopy(model.state_dict())
    pruner = METHODS[name](model, example_input=IMAGES, sparsity=0.5)
    with pytest.raises(mg.ConfigError, match=message):
        pruner.calibrate(batches)
    assert pruner.changes == 0
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value)
    assert pruner.calibrate([(IMAGES, torch.zeros(3))]).sparsity == pytest.approx(0.5, abs=0.05)


def test_a_teacher_is_this_network_trained_densely() -> None:
    model = Plain()
    wrong: dict[str, Any] = {
        r"'fc.weight' is \(7, 4\) there and \(5, 4\) here. Take": Plain(classes=7),
        "'conv1.weight' is missing there": nn.Linear(3, 3),
        "got a str": "resnet18",
        "got the network itself": model,
    }
    for message, teacher in wrong.items():
        with pytest.raises(mg.ConfigError, match=f"^teacher: .*{message}"):
            mg.SpikeThrift(model, example_input=IMAGES, sparsity=0.5, every=2, teacher=teacher)
    mg.SpikeThrift(model, example_input=IMAGES, sparsity=0.5, every=2, teacher=Plain())


def test_a_penalty_that_is_never_asked_for_is_noticed() -> None:
    model = Plain().train()
    mg.SpikeThrift(model, example_input=IMAGES, sparsity=0.5, every=2, teacher=Plain())
    model(IMAGES)
    mg.reset(model)
    with pytest.raises(mg.ConfigError, match=r"lif\d: .*call penalty\(\) once a batch"):
        model(IMAGES[:2])


@pytest.mark.parametrize("name", ["random", "uniform-slim", "random-weights"])
def test_a_control_can_not_know_synops(name: str) -> None:
    with pytest.raises(mg.ConfigError, match="has run: ask for parameters or macs"):
        METHODS[name](Plain(), example_input=IMAGES, target={"synops": 0.5})
