"""LAMP: scores by brute force, and one ranking over all layers."""

from __future__ import annotations

import pytest
import torch
from test_contract import NETWORKS, Loop
from torch import Tensor

import microglia as mg
from microglia.methods.parts.scores import lamp


def by_brute_force(weight: Tensor) -> list[float]:
    """The definition, one weight at a time; of equal ones the first counts as the larger."""
    w = weight.detach().flatten().double().abs().tolist()
    scores = []
    for u, mine in enumerate(w):
        left = [x for v, x in enumerate(w) if x > mine or (x == mine and v <= u)]
        scores.append(mine**2 / sum(x**2 for x in left) if mine else 0.0)
    return scores


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_the_definition(seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(9, 4, 3)
    weight[0], weight[1, 0] = weight[2].clone(), 0.0  # ties, and closed ones
    scores = lamp(weight)
    assert torch.allclose(scores, torch.tensor(by_brute_force(weight), dtype=torch.float64))
    assert float(scores.max()) == 1.0
    assert int(scores.argmax()) == int(weight.abs().argmax())
    assert (scores[weight.flatten() == 0] == 0).all()


def test_a_layer_of_zeros_and_one_of_equals() -> None:
    assert lamp(torch.zeros(5)).tolist() == [0.0] * 5
    assert lamp(torch.full((4,), -2.0)).tolist() == [1.0, 1 / 2, 1 / 3, 1 / 4]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_the_best_over_all_layers_stay(network: str, sparsity: float) -> None:
    loop = Loop(mg.LAMP, network, sparsity=sparsity)
    weights = loop.pruner.masks.weights
    scores = {name: by_brute_force(weight) for name, weight in weights.items()}
    largest = {name: int(weight.abs().argmax()) for name, weight in weights.items()}
    total = sum(map(len, scores.values()))
    ranked = sorted(
        ((s, name, i) for name, mine in scores.items() for i, s in enumerate(mine)), reverse=True
    )
    kept = {(name, i) for _, name, i in ranked[: total - round(sparsity * total)]}
    loop.prune()
    for name, mask in loop.pruner.masks.keep().items():
        assert {(name, i) for i in mask.nonzero().flatten().tolist()} == {
            place for place in kept if place[0] == name
        }
        assert mask[largest[name]]
