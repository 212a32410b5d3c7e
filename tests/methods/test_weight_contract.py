"""What every method that prunes weights keeps to, on several networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import test_contract as contract
import torch
from test_contract import Loop, count, make_for
from torch import nn

import microglia as mg
from microglia.methods import METHODS, Pruner, WeightMagnitude, WeightPruner
from microglia.surgery import unread
from zoo import make, whole_or_sampled

LSNN = "recurrent, adaptive"
NETWORKS = [*contract.NETWORKS, LSNN]
WEIGHTS = {name: cls for name, cls in METHODS.items() if issubclass(cls, WeightPruner)}


@pytest.fixture(params=sorted(WEIGHTS))
def method(request: pytest.FixtureRequest) -> type[Pruner]:
    return WEIGHTS[request.param]


def pruned(method: type[Pruner], network: str, **settings: Any) -> tuple[Loop, WeightPruner]:
    loop = Loop(method, network, **settings)
    pruner = loop.prune()
    assert isinstance(pruner, WeightPruner)
    return loop, pruner


def assert_closed_are_zero(pruner: WeightPruner) -> None:
    for name, weight in pruner.masks.weights.items():
        assert not weight.detach()[~pruner.masks.mask(name)].any(), name


@pytest.mark.parametrize("network", NETWORKS)
def test_closed_weights_are_zero_and_stay_so(method: type[Pruner], network: str) -> None:
    """Momentum and weight decay would move them."""
    loop, pruner = pruned(method, network, sparsity=0.7)
    assert_closed_are_zero(pruner)
    loop.run(4)
    assert_closed_are_zero(pruner)
    for name, weight in pruner.masks.weights.items():
        moments = loop.optimizer.state[weight]
        closed = ~pruner.masks.mask(name)
        assert bool(weight.detach()[~closed].any())
        if method.needs != "training":  # a method that regrows may remember what it closed
            assert not moments["exp_avg"][closed].any()


@pytest.mark.parametrize("network", NETWORKS)
def test_hold_keeps_the_masks_under_another_optimizer(method: type[Pruner], network: str) -> None:
    loop, pruner = pruned(method, network, sparsity=0.7)
    before = pruner.masks.keep()
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=0.1, momentum=0.9)
    pruner.hold(loop.optimizer)
    weights = {n: w.detach().clone() for n, w in pruner.masks.weights.items()}
    assert loop.run(12) == []
    assert_closed_are_zero(pruner)
    assert any(not torch.equal(w, weights[n]) for n, w in pruner.masks.weights.items())
    for name, mask in pruner.masks.keep().items():
        assert torch.equal(mask, before[name])


@pytest.mark.parametrize("quantity", ["parameters", "macs"])
def test_a_target_is_met_to_within_one_weight(method: type[Pruner], quantity: str) -> None:
    # A method that prunes a part of the network can't leave much less than the rest.
    wanted = 0.9 if method.recurrent_only else 0.4
    loop, pruner = pruned(method, "chain", target={quantity: wanted})
    cost = pruner._cost(quantity, {})
    whole = cost({n: torch.ones(k, dtype=torch.bool) for n, k in pruner.sizes().items()})
    if quantity == "parameters":
        assert whole == count(loop.model)
    reached = cost(pruner.masks.keep()) / whole
    dearest = max(float(pruner._price(n, quantity, {}).max()) for n in pruner.sizes()) / whole
    assert abs(reached - wanted) <= dearest


def test_macs_of_open_weights_are_those_of_the_structure(method: type[Pruner]) -> None:
    from microglia.structure.cost import macs

    if method.recurrent_only:
        pytest.skip("it prices its recurrent synapses, not the layers that it leaves alone")
    for network in NETWORKS:
        _, pruner = pruned(method, network, sparsity=0.0)
        structure = pruner.structure
        assert pruner._cost("macs", {})(pruner.masks.keep()) == macs(structure, {})


def test_a_sparsity_for_each_weight(method: type[Pruner]) -> None:
    name = "rec.rc.weight" if method.recurrent_only else "body.4.weight"
    _, pruner = pruned(method, "chain", sparsity={name: 0.5})
    size = pruner.sizes()[name]
    assert pruner.kept() == {name: size - round(0.5 * size)}


def test_protected_layers_and_floors(method: type[Pruner]) -> None:
    first = "inp" if method.recurrent_only else "body.0"
    sparsity = 0.7 if method.recurrent_only else 0.95
    _, pruner = pruned(method, "chain", sparsity=sparsity, protect=[first], floor=20)
    assert f"{first}.weight" not in pruner.kept()
    assert min(pruner.kept().values()) >= 20


def test_channels_may_lie_last_in_memory(method: type[Pruner]) -> None:
    """As accelerated training lays them, also where a layer would have no weight left."""
    kept = []
    for last in (False, True):
        loop = Loop(method, "chain", sparsity=0.9, floor=3)
        if last:
            loop.model.to(memory_format=torch.channels_last)
        if method.name == "stds":
            loop.pruner.strength = 100.0  # type: ignore[attr-defined]
        kept.append(sum(loop.prune().kept().values()))
    assert kept[0] == kept[1]


def test_latency_is_no_target(method: type[Pruner]) -> None:
    with pytest.raises(mg.ConfigError, match="zero take as long"):
        Loop(method, "chain", target={"latency": 0.5})


def test_synops_are_a_target_where_the_network_has_run(method: type[Pruner]) -> None:
    if method.needs == "initialisation":
        with pytest.raises(mg.ConfigError, match="before the network has run"):
            Loop(method, "chain", target={"synops": 0.6})
        return
    _, pruner = pruned(method, "chain", target={"synops": 0.6})
    assert 0 < pruner.sparsity_reached < 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_nothing_reads_is_taken_out_and_computes_the_same(network: str, seed: int) -> None:
    loop = Loop(WeightMagnitude, network, sparsity=0.97, seed=seed)
    small = loop.prune().compact()
    loop.model.eval()
    assert torch.allclose(loop.logits(loop.model), loop.logits(small.model.eval()), atol=1e-5)
    assert count(small.model) < count(loop.model)
    again = mg.analyse(small.model, loop.x[:2])
    assert all(bool(mask.all()) or mask.sum() == 1 for mask in unread(small.model, again).values())


def test_unread_channels_take_those_along_that_only_they_read() -> None:
    model, x = make("chain")
    structure = mg.analyse(model, x)
    middle, last = model.get_submodule("body.4"), model.get_submodule("body.10")
    assert isinstance(middle, nn.Conv2d)
    keep = unread(model, structure)
    assert all(bool(mask.all()) for mask in keep.values())
    with torch.no_grad():
        columns = last.weight.reshape(last.weight.shape[0], 12, -1)
        columns[:, 3:] = 0  # of 12 channels, three are read
        middle.weight[:3, 2:] = 0  # and those read two
    keep = unread(model, structure)
    assert keep["body.4"].tolist() == [True] * 3 + [False] * 9
    assert keep["body.0"].tolist() == [True] * 2 + [False] * 6


@pytest.mark.parametrize("name", whole_or_sampled(["deep-r", "stds", "weight-magnitude"], WEIGHTS))
def test_the_contract_holds_on_an_lsnn(name: str) -> None:
    method = WEIGHTS[name]
    for sparsity in (0.3, 0.8):
        contract.test_the_budget_is_exact_and_no_layer_is_emptied(method, LSNN, sparsity)
    contract.test_the_same_seed_gives_the_same_masks(method, LSNN)
    contract.test_resume_equals_straight_run(method, LSNN)
    contract.test_compacted_computes_what_masked_computes(method, LSNN)


def test_a_copy_of_a_masked_network_has_no_masks(method: type[Pruner]) -> None:
    loop, pruner = pruned(method, "chain", sparsity=0.5)
    plain, _ = make_for(method, "chain")
    assert set(pruner.compact().model.state_dict()) == set(plain.state_dict())
    saved = copy.deepcopy(loop.model.state_dict())
    assert sum(name.endswith("_gate") for name in saved) == len(pruner.sizes())
