"""NDSNN: the cubic law of its number of weights, and every update by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from rewiring_by_hand import Watched, assert_new_weights_start_at_zero, assert_smallest
from test_contract import NETWORKS, masks

import microglia as mg
from zoo import make


def counts(network: str, sparsity: float, **settings: Any) -> dict[str, int]:
    """How an Erdős-Rényi graph shares out a sparsity; its law is tested with ESL."""
    model, x = make(network)
    return mg.ESL(model, sparsity=sparsity, every=1, example_input=x, **settings).kept()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("initial", [0.4, 0.95])
def test_the_number_of_weights_falls_by_the_cubic_law(
    network: str, warmup: int, initial: float
) -> None:
    until = 20  # no multiple of every: an update of its own
    loop = Watched(
        mg.NDSNN, network, sparsity=0.9, initial=initial, warmup=warmup, until=until, rate=0.6
    )
    first, last = counts(network, min(initial, 0.9)), counts(network, 0.9)
    assert loop.pruner.kept() == first
    for update in [*range(3 if warmup == 0 else 6, 20, 3), 20]:
        seen = loop.next_update()
        assert seen.change.step == update
        x = (update - warmup) / (until - warmup)
        d = 0.05 + (0.6 - 0.05) * (1 + math.cos(math.pi * x)) / 2
        for name, before in seen.before.items():
            after, weight = seen.after[name], seen.weights[name].abs()
            wanted = last[name] + (first[name] - last[name]) * (1 - x) ** 3
            assert abs(int(after.sum()) - wanted) <= 0.5
            count, now = int(after.sum()), int(before.sum())
            closed = max(min(round(d * now), before.numel() - count), now - count)
            assert_smallest(weight, before & ~after, among=before, count=closed)
            opened, signal = after & ~before, -seen.gradients[name].abs()
            assert_smallest(signal, opened, among=~before, count=count - now + closed)
        assert_new_weights_start_at_zero(loop, seen)
    assert loop.pruner.kept() == last
    assert loop.run(7) == []


def test_after_total_steps_weights_move_on_at_the_budget() -> None:
    loop = Watched(mg.NDSNN, "chain", sparsity=0.9, total_steps=7, until=12, least_rate=0.2)
    steps = []
    for _ in range(5):
        steps.append(loop.next_update().change.step)
        if steps[-1] >= 7:
            assert loop.pruner.kept() == counts("chain", 0.9)
    assert steps == [3, 6, 7, 9, 12]
    assert loop.run(6) == []


def test_a_sparsity_for_each_weight_falls_in_each() -> None:
    loop = Watched(mg.NDSNN, "chain", sparsity={"body.4.weight": 0.9}, initial=0.5, until=6)
    size = loop.pruner.sizes()["body.4.weight"]
    seen = [loop.pruner.kept()["body.4.weight"]]
    seen += [int(loop.next_update().after["body.4.weight"].sum()) for _ in range(2)]
    start, end = size - round(0.5 * size), size - round(0.9 * size)
    assert seen == [start, end + round((start - end) / 8), end]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_resumed_half_way_down_equals_the_straight_one(network: str) -> None:
    settings: dict[str, Any] = {"sparsity": 0.9, "until": 11}
    straight = Watched(mg.NDSNN, network, **settings)
    straight.run(5)
    parts = (straight.model, straight.optimizer, straight.pruner)
    saved = [copy.deepcopy(part.state_dict()) for part in parts]
    random = torch.get_rng_state()
    straight.run(8)
    resumed = Watched(mg.NDSNN, network, **settings)
    for part, state in zip((resumed.model, resumed.optimizer, resumed.pruner), saved, strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(random)
    resumed.run(8)
    assert masks(resumed.pruner) == masks(straight.pruner)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "total_steps"),
        ({"total_steps": 8, "until": 6}, "total_steps"),
        ({"until": 6, "warmup": 6}, "warmup"),
        ({"until": 6, "initial": 1.0}, "initial"),
        ({"until": 6, "rate": 0.1, "least_rate": 0.2}, "least_rate"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=named):
        mg.NDSNN(model, sparsity=0.5, every=3, example_input=x, **settings)
    assert list(model.state_dict()) == keys
