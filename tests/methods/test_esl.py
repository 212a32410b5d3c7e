"""ESL: the Erdős-Rényi start, densities that stay, and every update by hand."""

from __future__ import annotations

import math

import pytest
import torch
from rewiring_by_hand import Watched, assert_new_weights_start_at_zero, assert_smallest, seats
from test_contract import NETWORKS

import microglia as mg
from microglia.methods.parts.scope import in_proportion
from zoo import make


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_the_start_is_a_random_graph_of_equal_degrees(network: str, sparsity: float) -> None:
    model, x = make(network)
    pruner = mg.ESL(model, sparsity=sparsity, every=3, example_input=x)
    sizes = pruner.sizes()
    count = sum(sizes.values()) - round(sparsity * sum(sizes.values()))
    degrees = {}
    for name, weight in pruner.masks.weights.items():
        outputs, inputs, *kernel = weight.shape
        degrees[name] = outputs + inputs + sum(kernel)
    assert pruner.kept() == seats(degrees, sizes, count)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_share_is_the_best_of_each_group_in_proportion(seed: int) -> None:
    torch.manual_seed(seed)
    order = {"a": torch.rand(30), "b": torch.rand(7), "c": torch.rand(50)}
    shares = {"a": 1.0, "b": 2.91, "c": 0.47}
    scores = in_proportion(order, shares)
    for count in range(88):
        owed = seats(shares, {n: len(o) for n, o in order.items()}, count)
        everything = torch.cat(list(scores.values()))
        chosen = set(everything.argsort(descending=True)[:count].tolist())
        first = 0
        for name, mine in order.items():
            best = mine.argsort(descending=True)[: owed[name]]
            assert {first + int(i) for i in best} == {
                i for i in chosen if first <= i < first + len(mine)
            }
            first += len(mine)


def test_the_scope_layer_starts_with_the_same_fraction_of_each() -> None:
    model, x = make("chain")
    pruner = mg.ESL(model, sparsity=0.8, scope="layer", every=3, example_input=x)
    for name, size in pruner.sizes().items():
        assert abs(pruner.kept()[name] - 0.2 * size) <= 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("grow_by", ["random", "gradient", "momentum"])
def test_the_smallest_close_and_those_of_largest_signal_open(network: str, grow_by: str) -> None:
    loop = Watched(mg.ESL, network, sparsity=0.8, rate=0.4, grow_by=grow_by, until=12)
    kept = loop.pruner.kept()
    for update in (3, 6, 9, 12):
        seen = loop.next_update()
        assert seen.change.step == update
        zeta = 0.4 * (1 + math.cos(math.pi * update / 12)) / 2
        for name, before in seen.before.items():
            moved = min(round(zeta * int(before.sum())), int((~before).sum()))
            after = seen.after[name]
            weight, closed, opened = seen.weights[name].abs(), before & ~after, after & ~before
            assert_smallest(weight, closed, among=before, count=moved)
            signals = {"random": {}, "gradient": seen.gradients, "momentum": seen.momentum}
            signal = signals[grow_by].get(name, torch.zeros(len(before)))
            assert_smallest(-signal.abs(), opened, among=~before, count=moved)
        assert_new_weights_start_at_zero(loop, seen)
        assert loop.pruner.kept() == kept
    assert loop.run(9) == []


def test_without_an_end_the_rate_stays() -> None:
    loop = Watched(mg.ESL, "chain", sparsity=0.8, rate=0.4)
    for _ in range(3):
        seen = loop.next_update()
        for name, before in seen.before.items():
            moved = min(round(0.4 * int(before.sum())), int((~before).sum()))
            assert int((before & ~seen.after[name]).sum()) == moved


def test_other_seeds_move_other_weights() -> None:
    closed = []
    for seed in (1, 2):
        loop = Watched(mg.ESL, "chain", sparsity=0.8)
        loop.pruner.generator.manual_seed(seed)
        closed.append(loop.next_update().change.regrown)
    assert closed[0] != closed[1]


def test_a_gradient_that_is_gone_is_missed() -> None:
    model, x = make("chain")
    pruner = mg.ESL(model, sparsity=0.5, every=1, grow_by="gradient", example_input=x)
    with pytest.raises(mg.ConfigError, match=r"before\s+zero_grad"):
        pruner.step()


@pytest.mark.parametrize("settings", [{"rate": 1.5}, {"rate": -0.1}, {"grow_by": "gradients"}])
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=next(iter(settings))):
        mg.ESL(model, sparsity=0.5, every=1, example_input=x, **settings)
    assert list(model.state_dict()) == keys
