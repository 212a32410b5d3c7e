"""SD-SNN: ranges by hand on a small sequence, the pruned share, regeneration, strength."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from test_contract import EVERY, Loop

import microglia as mg
import zoo
from microglia.methods import SDSNN
from microglia.methods.parts.ranges import SynapticRanges


def by_hand(series: list[float], bound: float, kappa: int) -> tuple[float, float]:
    """R⁻ and R⁺ of one weight after these looks; the first value is where it began."""
    low, high = -bound, bound
    above: list[float] = []
    below: list[float] = []
    fading = 0
    for before, w in pairwise(series):
        above = [*above, w - high] if w >= high else []
        below = [*below, w - low] if w <= low else []
        if len(above) == kappa:
            high, above = high + sum(above) / kappa, []
        if len(below) == kappa:
            low, below = low + sum(below) / kappa, []
        fading = fading + 1 if abs(w) < abs(before) else 0
        if fading == kappa:
            low, high, fading = 0.75 * low, 0.75 * high, 0
    return low, high


SERIES = {
    "fades three times, shrinks once": [0.8, 0.7, 0.6, 0.5],
    "fades four times, shrinks twice": [-0.8, -0.7, 0.6, 0.5, -0.4],
    "an interruption begins anew": [0.8, 0.7, 0.75, 0.7, 0.72],
    "beyond its range twice": [1.0, 1.2, 1.4],
    "beyond it, back, and beyond": [1.0, 1.2, 0.5, 1.4],
    "beyond the other end": [-1.0, -1.5, -1.25, -1.125],
}


@pytest.mark.parametrize("kappa", [1, 2, 3])
def test_ranges_are_those_by_hand(kappa: int) -> None:
    longest = max(map(len, SERIES.values()))
    padded = [[*s, *[s[-1]] * (longest - len(s))] for s in SERIES.values()]
    steps = torch.tensor(padded, dtype=torch.float64).T
    ranges = SynapticRanges({"w": steps[0]}, kappa=kappa)
    for values in steps[1:]:
        ranges.look("w", values)
    for i, series in enumerate(padded):
        expected = by_hand(series, bound=1.0, kappa=kappa)
        found = ranges.ranges["w"]["lower"][i], ranges.ranges["w"]["upper"][i]
        assert torch.tensor(found).tolist() == pytest.approx(expected), list(SERIES)[i]


def test_ranges_with_two_looks() -> None:
    ranges = SynapticRanges({"w": torch.tensor([1.0, 0.9, -0.5])}, kappa=2)
    for values in ([1.2, 0.8, -0.6], [1.4, 0.7, -0.7]):
        ranges.look("w", torch.tensor(values))
    upper, lower = ranges.ranges["w"]["upper"], ranges.ranges["w"]["lower"]
    assert torch.allclose(upper, torch.tensor([1.0 + (0.2 + 0.4) / 2, 0.75, 1.0]))
    assert torch.allclose(lower, torch.tensor([-1.0, -0.75, -1.0]))
    assert torch.allclose(ranges.width("w"), torch.tensor([1.0, 0.0, 0.5 / 0.8]))
    weight = torch.tensor([2.0, 0.7, -3.0])
    ranges.constrain("w", weight)
    assert torch.allclose(weight, torch.tensor([1.3, 0.7, -1.0]))


def test_weights_are_held_in_their_ranges_after_kappa_updates() -> None:
    loop = Loop(SDSNN, "chain", every=1, kappa=2, until=None)
    weight = loop.model.get_submodule("body.4").weight
    largest = float(weight.detach().abs().max())
    for update in range(1, 5):
        loop.backward()
        with torch.no_grad():
            weight[0, 0, 0, 0] = 3 * largest * (-1) ** update  # never twice beyond one end
        loop.optimizer.step()
        loop.pruner.step()
        held = float(weight.detach()[0, 0, 0, 0].abs()) < 2 * largest
        assert held == (update > 2)


@pytest.mark.parametrize("strength", [0.05, 0.2])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_layer_loses_its_share_of_least_range(strength: float, seed: int) -> None:
    loop = Loop(SDSNN, "chain", every=2, warmup=4, until=None, strength=strength, seed=seed)
    sizes = {"body.0": 8, "body.4": 12}
    rho, live = dict.fromkeys(sizes, strength / 2), dict(sizes)
    for n in range(3):
        (change,) = loop.run(4 if n == 0 else 2)
        before = dict(live)
        for name, following in (("body.0", "body.4"), ("body.4", "body.4")):
            rho[name] += strength * math.exp(-n / 5) * before[name] / before[following]
            live[name] = sizes[name] - math.floor(rho[name] * sizes[name])
        assert change.step == 4 + 2 * n
        assert change.kept == live
        for name, mask in loop.pruner.masks.keep().items():
            score = loop.pruner.scores()[name]
            if n == 0 and not mask.all():
                assert score[mask].min() >= score[~mask].max()
    assert sum(live.values()) < 20


def test_a_closed_channel_of_large_gradient_comes_back_after_kappa_updates() -> None:
    pruner = Loop(SDSNN, "chain", kappa=2).pruner
    assert isinstance(pruner, SDSNN)
    closed = torch.zeros(8, dtype=torch.bool)
    closed[:3] = True
    strong = torch.tensor([9.0, 0.1, 8.0, 1, 1, 1, 1, 1])
    weak = torch.ones(8)
    grown = [
        pruner._regenerated("body.0", closed, signal, 0).nonzero().flatten().tolist()
        for signal in (strong, strong, weak, strong, strong, strong)
    ]
    assert grown == [[], [], [], [], [], [0, 2]]


def test_who_comes_back_is_open_and_who_has_least_range_closes() -> None:
    loop = Loop(SDSNN, "chain", every=1, warmup=1, until=None, strength=0.3, kappa=1)
    loop.run(1)
    closed = (~loop.pruner.masks.keep()["body.4"]).nonzero().flatten()
    assert len(closed)
    loop.pruner._called["body.4"][closed[0]] = 1.0  # type: ignore[attr-defined]
    loop.backward()
    loop.model.get_submodule("body.5").weight.grad[closed[0]] = 1e3
    loop.optimizer.step()
    change = loop.pruner.step()
    assert change is not None
    assert bool(loop.pruner.masks.keep()["body.4"][closed[0]])


@pytest.mark.parametrize("network", ["chain", "pre-activation", "snnTorch"])
def test_more_strength_is_never_denser(network: str) -> None:
    reached = []
    for strength in (0.0, 0.01, 0.1, 0.3, 0.6):
        loop = Loop(SDSNN, network, strength=strength, warmup=EVERY, until=None)
        loop.run(EVERY)
        reached.append(loop.pruner.sparsity_reached)
    assert reached == sorted(reached)
    assert reached[0] == 0 < reached[-1]


def test_at_until_it_meets_its_budget_and_stands_still() -> None:
    loop = Loop(SDSNN, "chain", sparsity=0.6, every=2, warmup=2, until=5, strength=0.1)
    loop.run(4)
    emerged = loop.pruner.sparsity_reached
    assert 0 < emerged < 0.6
    loop.run(1)
    assert loop.pruner.reached is not None
    assert loop.pruner.sparsity_reached == 0.6
    keep = loop.pruner.masks.keep()
    ranges = {k: v.clone() for k, v in loop.pruner._ranges.ranges["body.4.weight"].items()}  # type: ignore[attr-defined]
    assert loop.run(5) == []
    assert zoo.same(loop.pruner.masks.keep(), keep)
    assert zoo.same(loop.pruner._ranges.ranges["body.4.weight"], ranges)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "bad", [{"strength": 1.0}, {"strength": -1}, {"kappa": 0}, {"kappa": None}]
)
def test_settings_out_of_range_leave_the_network_alone(bad: dict[str, float]) -> None:
    model, x = zoo.make("chain")
    before = zoo.snapshot(model)
    with pytest.raises(mg.ConfigError):
        SDSNN(model, example_input=x, every=1, **bad)
    assert not [k for k, v in zoo.snapshot(model).items() if not zoo.same(before[k], v)]
