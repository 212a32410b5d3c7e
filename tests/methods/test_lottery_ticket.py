"""Lottery tickets: rounds of equal pruning, each from the same point of the first."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_contract import NETWORKS, Loop, masks
from test_lamp import by_brute_force
from torch import Tensor

import microglia as mg
from zoo import make

EVERY, ROUNDS = 5, 4


def ticket(network: str, **settings: Any) -> Loop:
    return Loop(mg.LotteryTicket, network, every=EVERY, rounds=ROUNDS, **settings)


def trained(loop: Loop) -> dict[str, Tensor]:
    """All that training changes, in a copy."""
    state = copy.deepcopy(loop.model.state_dict())
    return {name: value for name, value in state.items() if not name.endswith("weight_gate")}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rewind", [0, 2])
@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_each_round_prunes_the_same_fraction_and_goes_back(
    network: str, rewind: int, sparsity: float
) -> None:
    loop = ticket(network, sparsity=sparsity, rewind=rewind)
    sizes = loop.pruner.sizes()
    total = sum(sizes.values())
    loop.run(rewind)
    point = trained(loop)
    loop.run(EVERY - rewind - 1)
    open_ = {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
    for done in range(1, ROUNDS):
        loop.backward()
        loop.optimizer.step()
        weights = {n: w.detach().flatten().clone() for n, w in loop.pruner.masks.weights.items()}
        change = loop.pruner.step()
        assert change is not None
        assert change.restart
        density = (1 - sparsity) ** (done / (ROUNDS - 1))
        count = total - round((1 - density) * total)
        now = loop.pruner.masks.keep()
        assert sum(int(mask.sum()) for mask in now.values()) == count
        ranked = [weights[n].abs().masked_fill(~open_[n], -1).sort().values for n in sizes]
        floors, others = [r[-1:] for r in ranked], [r[:-1] for r in ranked]  # no layer is emptied
        best = torch.cat([*floors, torch.cat(others).topk(count - len(floors)).values])
        staying = torch.cat([weights[n].abs()[now[n]] for n in sizes])
        assert torch.equal(staying.sort().values, best.sort().values)
        assert not any(bool((now[n] & ~open_[n]).any()) for n in sizes)
        for name, value in trained(loop).items():
            mask = now[name].reshape(value.shape) if name in now else True
            assert torch.equal(value, point[name] * mask), name
        assert not any(loop.optimizer.state.get(p) for p in loop.model.parameters())
        open_ = now
        assert loop.run(EVERY - 1) == []
    assert loop.pruner.kept() == {name: int(mask.sum()) for name, mask in open_.items()}
    assert loop.run(2 * EVERY) == []  # the last round, and whatever comes after it
    assert sum(loop.pruner.kept().values()) == total - round(sparsity * total)


def test_what_is_closed_stays_closed_beside_open_weights_of_zero() -> None:
    loop = ticket("chain", sparsity=0.5)
    loop.run(2 * EVERY - 1)
    before = loop.pruner.masks.keep()
    for weight in loop.pruner.masks.weights.values():
        weight.data[len(weight) // 2 :] = 0
    loop.optimizer.param_groups[0]["lr"] = 0.0
    loop.run(1)
    assert not any((mask & ~before[n]).any() for n, mask in loop.pruner.masks.keep().items())


def test_by_lamp_the_ranking_is_that_of_its_scores() -> None:
    loop = ticket("chain", sparsity=0.9, allocate="lamp")
    for done in range(1, ROUNDS):
        loop.run(EVERY - 1)
        loop.backward()
        loop.optimizer.step()
        weights = loop.pruner.masks.weights.items()
        scores = torch.tensor([s for _, weight in weights for s in by_brute_force(weight)])
        loop.pruner.step()
        keep = torch.cat(list(loop.pruner.masks.keep().values()))
        assert torch.equal(scores[keep].sort().values, scores.topk(int(keep.sum())).values.flip(0))
        assert loop.pruner.changes == done


def test_a_sparsity_for_each_weight_is_reached_in_rounds() -> None:
    loop = ticket("chain", sparsity={"body.4.weight": 0.9, "body.0.weight": 0.2})
    sizes = loop.pruner.sizes()
    for done in range(1, ROUNDS):
        loop.run(EVERY)
        for name, p in (("body.4.weight", 0.9), ("body.0.weight", 0.2)):
            closed = round((1 - (1 - p) ** (done / (ROUNDS - 1))) * sizes[name])
            assert loop.pruner.kept()[name] == sizes[name] - closed


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pause", [1, 4, 7, 12])
def test_a_resumed_run_goes_back_to_the_same_point(network: str, pause: int) -> None:
    settings: dict[str, Any] = {"sparsity": 0.8, "rewind": 2}
    straight = ticket(network, **settings)
    straight.run(pause)
    parts = (straight.model, straight.optimizer, straight.pruner)
    saved = [copy.deepcopy(part.state_dict()) for part in parts]
    random = torch.get_rng_state()
    straight.run(20 - pause)
    resumed = ticket(network, **settings)
    for part, state in zip((resumed.model, resumed.optimizer, resumed.pruner), saved, strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(random)
    resumed.run(20 - pause)
    assert masks(resumed.pruner) == masks(straight.pruner)
    mine, theirs = resumed.model.state_dict(), straight.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_held_it_asks_for_no_restart() -> None:
    loop = ticket("chain", sparsity=0.8)
    assert loop.pruner.cycle == EVERY
    loop.pruner.hold(torch.optim.SGD(loop.model.parameters(), lr=0.1))
    assert loop.pruner.cycle is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rounds": 1}, "rounds"),
        ({"rewind": 5}, "rewind"),
        ({"rewind": -1}, "rewind"),
        ({"allocate": "lmap"}, "lamp"),
        ({"until": 14}, "last at step 15"),
        ({"warmup": 6}, "first at step 5"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=named):
        mg.LotteryTicket(
            model, **{"sparsity": 0.5, "every": 5, "rounds": 4, "example_input": x} | settings
        )
    assert list(model.state_dict()) == keys
