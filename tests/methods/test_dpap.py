"""DPAP: traces and plasticity by hand, the survival function by hand, strength and time."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from test_contract import EVERY, Loop
from torch import Tensor

import microglia as mg
import zoo
from microglia.methods import DPAP
from microglia.methods.dpap import survival, unit
from microglia.methods.parts.bcm import BCM


def traces(spikes: Tensor) -> Tensor:
    """T of each sample and channel, of spikes [T, N, C, ...]."""
    s = spikes.flatten(3).sum(-1) if spikes.dim() > 3 else spikes
    steps = len(s)
    weights = [[0.5 ** (t - k) for k in range(t + 1)] for t in range(steps)]
    return sum(w * s[k] for t in range(steps) for k, w in enumerate(weights[t])) / steps


@pytest.mark.parametrize("name", ["chain", "chain, single-step"])
def test_traces_and_plasticity_are_those_by_hand(name: str) -> None:
    model, x = zoo.make(name, T=3)
    model.train()
    whole = mg.analyse(model, x)
    bcm = BCM(model, whole)
    nodes = {"body.0": "body.2", "body.4": "body.6", "body.10": "body.11"}
    seen: dict[str, list[Tensor]] = {}
    for group, node in nodes.items():

        def keep(module: Any, args: Any, out: Tensor, group: str = group) -> None:
            seen.setdefault(group, []).append(out.detach().clone())

        model.get_submodule(node).register_forward_hook(keep)

    so_far: dict[str, list[Tensor]] = {group: [] for group in nodes}
    b = {group: torch.zeros(whole[group].size) for group in nodes}
    t = {group: torch.zeros(whole[group].size) for group in nodes}
    for batch in (x, torch.rand(3, 3, 8, 8) + 0.2, torch.rand(1, 3, 8, 8)):  # the last is smaller
        seen.clear()
        mg.reset(model)
        model(batch)
        bcm.collect()
        T = {g: traces(s[0] if len(s) == 1 else torch.stack(s)) for g, s in seen.items()}
        for group, driver in (("body.0", None), ("body.4", "body.0"), ("body.10", "body.4")):
            so_far[group].append(T[group])
            theta = torch.cat(so_far[group]).mean(0)
            for n, sample in enumerate(T[group]):
                driven = 1.0 if driver is None else sum(float(j) for j in T[driver][n])
                b[group] += sample * (sample - theta) * driven
                t[group] += sample
    for group, (found_b, found_t) in bcm.activity().items():
        assert found_t.sum() > 0
        assert torch.allclose(found_t, t[group], rtol=1e-4)
        assert torch.allclose(found_b, b[group], rtol=1e-3, atol=1e-4 * float(b[group].abs().max()))


def test_a_network_that_only_runs_in_eval_leaves_no_trace() -> None:
    model, x = zoo.make("chain")
    bcm = BCM(model, mg.analyse(model, x))
    with torch.no_grad():
        model.eval()(x)
        copy.deepcopy(model).train()(x)
    bcm.collect()
    assert all(float(t.sum()) == 0 for _, t in bcm.activity().values())


def test_the_unit_is_reached_at_the_third_quartile() -> None:
    assert unit(torch.tensor([2.0, 3.0, 4.0, 6.0, 90.0])).tolist() == [0.0, 0.25, 0.5, 1.0, 1.0]
    assert unit(torch.tensor([7.0, 7.0])).tolist() == [0.0, 0.0]
    assert unit(torch.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize("pace", [1.0, 5.0])
def test_survival_is_that_by_hand(pace: float) -> None:
    activity = torch.tensor([0.0, 0.1, 0.2, 0.4, 0.9])  # u: 0, 1/4, 1/2, 1, 1
    units = [0.0, 0.25, 0.5, 1.0, 1.0]
    r, by_hand = torch.full((5,), 10.0), [10.0] * 5
    for n in range(30):
        r = survival(r, activity, n, strength=0.65, pace=pace)
        for i, u in enumerate(units):
            delta = 2 * u - 0.65
            if delta > 0:
                delta += 5
            by_hand[i] = by_hand[i] * 0.999**pace + pace * delta * math.exp(-(pace * n // 12))
    assert r.tolist() == pytest.approx(by_hand, rel=1e-4)
    assert (r < 0).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("network", ["chain", "pre-activation", "snnTorch"])
def test_more_strength_is_never_denser(network: str) -> None:
    reached = []
    for strength in (0.0, 0.3, 0.65, 1.0, 1.5, 2.0):
        loop = Loop(DPAP, network, strength=strength, until=None, pace=30.0)
        loop.run(EVERY)
        reached.append(loop.pruner.sparsity_reached)
    assert reached == sorted(reached)
    assert reached[0] == 0 < reached[-1]


def test_what_closes_has_no_survival_left_and_never_opens() -> None:
    loop = Loop(DPAP, "chain", until=None, pace=12.0, every=2)
    before = loop.pruner.masks.keep()
    for _ in range(6):
        loop.run(2)
        after = loop.pruner.masks.keep()
        for name, mask in after.items():
            assert not (mask & ~before[name]).any()
            r = loop.pruner.scores()[name]
            assert torch.equal(mask, (r >= 0) & before[name])
        before = after
    assert 0 < loop.pruner.sparsity_reached < 1


def test_the_paper_s_epochs_are_spread_over_the_run() -> None:
    def pace(**settings: Any) -> float:
        pruner = Loop(DPAP, "chain", **settings).pruner
        assert isinstance(pruner, DPAP)
        return pruner.pace

    assert pace(every=2, warmup=2, until=20) == 6.0
    assert pace(every=1, warmup=1, until=200) == 1.0
    assert pace(until=None) == 1.0


def test_at_until_it_meets_its_budget_by_survival() -> None:
    loop = Loop(DPAP, "chain", sparsity=0.6, every=2, until=5)
    loop.run(5)
    pruner = loop.pruner
    assert pruner.sparsity_reached == 0.6
    assert pruner.reached is not None
    scores = pruner.scores()
    keep = pruner.masks.keep()
    r, mask = torch.cat(list(scores.values())), torch.cat([keep[n] for n in scores])
    assert r[mask].min() >= r[~mask].max()
    assert loop.run(4) == []


@pytest.mark.parametrize("bad", [{"strength": 2.1}, {"strength": -1}, {"pace": 0}, {"pace": "x"}])
def test_settings_out_of_range_leave_the_network_alone(bad: dict[str, Any]) -> None:
    model, x = zoo.make("chain")
    before = zoo.snapshot(model)
    with pytest.raises(mg.ConfigError):
        DPAP(model, example_input=x, every=1, **bad)
    assert not [k for k, v in zoo.snapshot(model).items() if not zoo.same(before[k], v)]
