"""What every method that prunes channels keeps to, on several networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_contract import EVERY, NETWORKS, Loop, count, masks
from torch import Tensor, nn

import microglia as mg
from microglia.methods import METHODS, Pruner
from microglia.methods.parts import clock
from microglia.structure.cost import macs, parameters
from zoo import make


@pytest.fixture(params=[n for n in sorted(METHODS) if METHODS[n].prunes == "channels"])
def method(request: pytest.FixtureRequest) -> type[Pruner]:
    return METHODS[request.param]


def test_a_sparsity_for_each_group(method: type[Pruner]) -> None:
    pruner = Loop(method, "chain", sparsity={"body.4": 0.5}).prune()
    assert pruner.kept() == {"body.4": 6}


@pytest.mark.parametrize(("quantity", "cost"), [("parameters", parameters), ("macs", macs)])
def test_a_target_is_met_to_within_one_channel(
    method: type[Pruner], quantity: str, cost: Any
) -> None:
    pruner = Loop(method, "chain", target={quantity: 0.4}, linear=True).prune()
    structure, keep = pruner.structure, pruner.masks.keep()
    whole = cost(structure, structure.everything())
    matched = pruner.needs == "initialisation"  # a control comes as near as it can, also above
    assert cost(structure, keep) <= 0.4 * whole or matched
    assert cost(structure, keep) <= 0.45 * whole
    wider = []
    for group in structure.groups:
        if not keep[group.name].all():
            more = keep | {group.name: keep[group.name].clone()}
            more[group.name][(~more[group.name]).nonzero()[0]] = True
            wider.append(cost(structure, more))
    assert max(wider) > 0.4 * whole * 0.9


def test_synops_and_latency_are_targets_too(
    method: type[Pruner], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that counts parameters: nothing here may depend on how fast the machine is.
    monkeypatch.setattr(
        clock,
        "relative_times",
        lambda networks, dense, x: [count(small) / count(dense) for small in networks],
    )
    for quantity in ("synops", "latency"):
        if quantity == "synops" and method.needs == "initialisation":
            with pytest.raises(mg.ConfigError, match="before the network has run"):
                Loop(method, "chain", target={quantity: 0.6})
            continue
        loop = Loop(method, "chain", target={quantity: 0.6})
        pruner = loop.prune()
        assert 0 < pruner.sparsity_reached < 1
        if quantity == "latency":
            slack = 0.05 if method.needs == "initialisation" else 0.0
            assert count(pruner.compact().model) <= (0.6 + slack) * count(loop.model)


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_clock_moves_a_latency_target_little(
    method: type[Pruner], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = torch.Generator().manual_seed(seed)

    def noisy(networks: list[nn.Module], dense: nn.Module, x: Any) -> list[float]:
        noise = 0.2 * torch.randn(len(networks), generator=dice)
        return [
            count(small) / count(dense) * (1 + float(n))
            for small, n in zip(networks, noise, strict=True)
        ]

    monkeypatch.setattr(clock, "relative_times", noisy)
    loop = Loop(method, "chain", target={"latency": 0.6})
    reached = count(loop.prune().compact().model) / count(loop.model)
    assert 0.35 < reached < 0.85


def test_clocks_are_of_the_networks_in_their_order() -> None:
    class Slow(nn.Module):
        def __init__(self, loops: int) -> None:
            super().__init__()
            self.loops = loops

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(self.loops):
                x = x @ x
            return x

    times = clock.relative_times([Slow(2), Slow(40)], Slow(200), torch.eye(60))
    assert times.shape == (2,)
    assert 0 < times[0] < times[1]


def test_every_rank_gets_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks see other data; their sums are added before a choice is made."""
    ranks = [Loop(METHODS["sca"], "chain", sparsity=0.5) for _ in range(2)]
    ranks[1].x = ranks[1].x.flip(0) * 0.7
    for rank in ranks:
        for group in rank.optimizer.param_groups:
            group["lr"] = 0.0  # weights stay equal, as data-parallel training keeps them
        rank.run(EVERY - 1)
        rank.backward()
        rank.optimizer.step()
    sums = [
        [
            tensor
            for part in rank.pruner._parts.values()
            for name in ("sums", "counts")
            for tensor in getattr(part, name, {}).values()
        ]
        for rank in ranks
    ]
    reduced = [a + b for a, b in zip(*sums, strict=True)]

    def all_reduce(tensor: Tensor) -> None:
        for own, total in zip([*sums[0], *sums[1]], reduced * 2, strict=True):
            if own.shape == tensor.shape and torch.equal(own, tensor):
                tensor.copy_(total)
                return
        raise AssertionError("a tensor that is no sum of a part was reduced")

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    for rank in ranks:
        rank.pruner.step()
    assert masks(ranks[0].pruner) == masks(ranks[1].pruner)
    assert ranks[0].pruner.changes == 1


@pytest.mark.parametrize("network", NETWORKS)
def test_floor_multiples_and_protected_layers(method: type[Pruner], network: str) -> None:
    if method.name == "slimming" and network == "snnTorch":
        pytest.skip("its only norm is the first layer's")
    first = mg.analyse(*make(network)).groups[0]
    pruner = Loop(method, network, sparsity=0.5, floor=3, protect=[first.layers[0]]).prune()
    assert first.name not in pruner.kept()
    assert min(pruner.kept().values()) >= 3

    pruner = Loop(method, network, sparsity=0.4, round_to=4).prune()
    sizes = {g.name: g.size for g in pruner.structure.groups}
    assert all(n % 4 == 0 or n == sizes[name] for name, n in pruner.kept().items())
