"""Spike-Thrift: counts exact, regrowth in proportion to the layers' momentum."""

from __future__ import annotations

import pytest
from rewiring_by_hand import (
    Watched,
    assert_new_weights_start_at_zero,
    assert_smallest,
    seats,
)
from test_contract import NETWORKS

import microglia as mg
from zoo import make


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_layers_regrow_by_their_share_of_the_momentum(network: str, sparsity: float) -> None:
    loop = Watched(mg.SpikeThrift, network, sparsity=sparsity, rate=0.6, until=12)
    sizes = loop.pruner.sizes()
    total = sum(sizes.values()) - round(sparsity * sum(sizes.values()))
    for name, kept in loop.pruner.kept().items():
        assert abs(kept - (1 - sparsity) * sizes[name]) <= 1
    moved_between = False
    for update in (3, 6, 9, 12):
        seen = loop.next_update()
        assert sum(loop.pruner.kept().values()) == total
        p = min(0.6 * (1 - update / 12), (sum(sizes.values()) - total) / total)
        left = {n: max(1, k - int(p * k)) for n, k in count(seen.before).items()}
        mu = {n: float(m.abs()[seen.before[n]].mean()) for n, m in seen.momentum.items()}
        rooms = {n: int((~mask).sum()) for n, mask in seen.before.items()}
        owed = seats(mu, rooms, total - sum(left.values()))
        for name, before in seen.before.items():
            after, weight = seen.after[name], seen.weights[name].abs()
            closed, signal = int(before.sum()) - left[name], -seen.momentum[name].abs()
            assert_smallest(weight, before & ~after, among=before, count=closed)
            assert_smallest(signal, after & ~before, among=~before, count=owed[name])
        assert_new_weights_start_at_zero(loop, seen)
        moved_between |= count(seen.before) != count(seen.after)
    assert moved_between
    assert loop.run(6) == []


def count(masks: dict[str, object]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}  # type: ignore[attr-defined]


def test_the_scope_layer_leaves_each_layer_its_number() -> None:
    loop = Watched(mg.SpikeThrift, "chain", sparsity=0.8, scope="layer", rate=0.5)
    kept = loop.pruner.kept()
    for _ in range(3):
        seen = loop.next_update()
        assert sum(len(opened) for opened in seen.change.regrown.values()) > 0
        assert loop.pruner.kept() == kept


def test_floors_hold_while_weights_move() -> None:
    loop = Watched(mg.SpikeThrift, "chain", sparsity=0.95, floor=20)
    for _ in range(4):
        loop.next_update()
        assert min(loop.pruner.kept().values()) >= 20


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_settings_out_of_range(rate: float) -> None:
    model, x = make("chain")
    with pytest.raises(mg.ConfigError, match="rate"):
        mg.SpikeThrift(model, sparsity=0.5, every=1, rate=rate, example_input=x)
