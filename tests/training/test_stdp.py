"""STDP: the rule by hand, competition, and features that are worth learning."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from microglia.errors import ConfigError, TrainingError
from microglia.training import STDPConfig, stdp_features, train_stdp


def fresh(seed: int) -> nn.Conv2d:
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 12, 4, bias=False)
    nn.init.uniform_(layer.weight)
    return layer


@pytest.mark.parametrize("seed", range(5))
def test_learned_features_beat_the_untrained_layers(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On digits, as the script does it that the documented figures come from."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    accuracies = import_module("stdp_digits").accuracies(seed)
    for rule in ("homogeneous", "heterogeneous"):
        assert accuracies[rule] > accuracies["untrained"] + 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_rule_by_hand(seed: int) -> None:
    """One neuron, so that nobody competes, sample by sample and step by step."""
    torch.manual_seed(seed)
    config = STDPConfig(threshold=0.6, rate=0.1, target=0.25, tau=3.0, homeostasis=0.0, epochs=1)
    layer = nn.Linear(6, 1, bias=False)
    nn.init.uniform_(layer.weight, 0.3, 0.7)
    w = layer.weight.detach().clone().flatten()
    spikes = (torch.rand(5, 4, 6) < 0.3).float()
    change, count = torch.zeros(6), 0
    for n in range(4):
        potential, trace = 0.0, torch.zeros(6)
        done = False
        for t in range(5):
            trace = trace - trace / 3 + spikes[t, n]
            potential += float(spikes[t, n] @ w / w.norm())
            if potential >= 0.6 and not done:
                change += trace - 0.25
                count += 1
                done = True
    assert count > 0
    train_stdp(layer, [spikes], config=config)
    expected = (w + 0.1 * change / count).clamp(0, 1)
    assert torch.allclose(layer.weight.detach().flatten(), expected, atol=1e-6)


def test_one_neuron_a_place_and_sample_fires_while_it_learns() -> None:
    """Two equal neurons but for a head start: the second learns nothing."""
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.1, 0.1, 0.5, 0.5]])
    spikes = torch.tensor([[1.0, 1, 0, 0]]).expand(3, 1, 4)
    before = layer.weight.detach().clone()
    train_stdp(layer, [spikes], config=STDPConfig(epochs=1, homeostasis=0.0))
    assert torch.equal(layer.weight[1], before[1])
    assert bool((layer.weight[0, :2] > before[0, :2]).all())
    assert bool((layer.weight[0, 2:] < before[0, 2:]).all())


def test_the_same_seed_gives_the_same_weights() -> None:
    spikes = (torch.rand(5, 8, 2, 6, 6) < 0.3).float()
    weights = []
    for seed in (1, 1, 2):
        layer = fresh(0)
        train_stdp(layer, [spikes], config=STDPConfig(spread=0.7, seed=seed))
        weights.append(layer.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]), "time constants are drawn by the seed"


def test_what_is_refused() -> None:
    spikes = torch.zeros(3, 2, 2, 6, 6)
    with pytest.raises(TrainingError, match=r"no neuron ever fired; lower stdp\.threshold"):
        train_stdp(fresh(0), [spikes], config=STDPConfig())
    for layer in (
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.Conv2d(2, 4, 3, stride=2, bias=False),
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
    ):
        with pytest.raises(ConfigError, match="stdp"):
            train_stdp(layer, [spikes], config=STDPConfig())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no batch"):
        train_stdp(fresh(0), [], config=STDPConfig())
    for name, value in (
        ("threshold", 0.0),
        ("rate", 1.0),
        ("target", 1.0),
        ("tau", 0.5),
        ("spread", -1.0),
        ("homeostasis", -1.0),
        ("epochs", 0),
    ):
        with pytest.raises(ConfigError, match=f"stdp.{name}"):
            STDPConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "batch", "words"),
    [
        (
            fresh(0),
            (torch.ones(4, 3, 2, 8, 8), torch.zeros(3)),
            "got a tuple; leave the labels out",
        ),
        (fresh(0), torch.ones(3, 2, 8, 8), r"\[T, N, 2, H, W\].*got \[3, 2, 8, 8\].*encoder"),
        (fresh(0), torch.ones(4, 3, 1, 8, 8), r"\[T, N, 2, H, W\].*got \[4, 3, 1, 8, 8\]"),
        (nn.Linear(6, 2, bias=False), torch.ones(3, 6), r"\[T, N, 6\].*got \[3, 6\]"),
        (nn.Linear(6, 2, bias=False), torch.ones(4, 3, 5), r"\[T, N, 6\].*got \[4, 3, 5\]"),
    ],
)
def test_what_is_no_spikes_of_the_layer_is_refused(
    layer: nn.Conv2d | nn.Linear, batch: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train_stdp(layer, [batch], config=STDPConfig())
    with pytest.raises(ConfigError, match=words):
        stdp_features(layer, batch, threshold=torch.tensor(1.0))
