"""Sensitivity: each figure is that of a network without the least important channels of a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from microglia.errors import ConfigError
from microglia.experiment import layer_sensitivity
from microglia.gates import Gates
from microglia.metrics import measure_accuracy
from microglia.surgery import analyse

LAYERS = ("body.0", "body.4")


def chain(seed: int) -> tuple[nn.Module, list[tuple[Tensor, Tensor]], Tensor]:
    model, _ = zoo.make("chain", T=3, seed=seed)
    x = torch.rand(32, 3, 8, 8) + 0.2
    with torch.no_grad():
        logits = model.eval()(x)
        model.get_submodule("body.12").bias.sub_(logits.mean(0))  # or one class would win always
        labels = (logits - logits.mean(0)).argmax(1)
    zoo.mg.reset(model)
    return model, [(x[:16], labels[:16]), (x[16:], labels[16:])], x


@pytest.mark.parametrize("seed", range(3))
def test_an_accuracy_is_that_of_the_gated_network(seed: int) -> None:
    model, batches, x = chain(seed)
    before = zoo.snapshot(model)
    found = layer_sensitivity(model, batches, example_input=x[:2], score="magnitude")
    assert zoo.same(before, zoo.snapshot(model))
    assert found.whole == 1.0
    assert set(found.accuracy) == set(LAYERS)
    structure = analyse(model, x[:2])
    gates = Gates(model, structure)
    for group in LAYERS:
        order = model.get_submodule(group).weight.detach().abs().flatten(1).mean(1).argsort()
        for sparsity, accuracy in zip(found.sparsities, found.accuracy[group], strict=True):
            mask = torch.ones(len(order), dtype=torch.bool)
            mask[order[: round(sparsity * len(order))]] = False
            gates.set(structure.everything() | {group: mask})
            assert accuracy == measure_accuracy(model, batches)
    assert min(min(values) for values in found.accuracy.values()) < 1.0
    gates.remove()


@pytest.mark.parametrize("score", ["membrane", "rate", "magnitude"])
@pytest.mark.parametrize("group", LAYERS)
def test_channels_that_do_nothing_go_first(score: Any, group: str) -> None:
    model, _, x = chain(0)
    dead = [1, 2, 5, 7]
    layer, norm = model.get_submodule(group), model.get_submodule(f"body.{int(group[-1]) + 1}")
    with torch.no_grad():
        layer.weight[dead] = 0.0
        norm.bias[dead] = norm.running_mean[dead] = 0.0
        if layer.bias is not None:
            layer.bias[dead] = 0.0
        labels = model(x).argmax(1)
    zoo.mg.reset(model)
    found = layer_sensitivity(
        model,
        [(x, labels)],
        example_input=x[:2],
        calibration=[(x, labels)],
        score=score,
        sparsities=(4 / layer.out_channels,),
    )
    assert found.accuracy[group] == (1.0,)


def test_what_cannot_be_is_refused() -> None:
    model, batches, x = chain(0)
    for bad in (0.0, 1.0, -0.5):
        with pytest.raises(ConfigError, match="sparsities"):
            layer_sensitivity(model, batches, example_input=x[:2], sparsities=(bad,))
    with pytest.raises(ConfigError, match="calibration"):
        layer_sensitivity(model, batches, example_input=x[:2])
