"""STDS: thresholds by their formulas, the zero set they leave, and every step by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_contract import Loop
from torch import Tensor

import microglia as mg
from microglia.methods import STDS
from microglia.methods.stds import THRESHOLDS
from zoo import make

LR, D, STEPS = 0.1, 0.08, 16

AT = {
    "sine": lambda x: 0.5 * (1 + math.sin(math.pi * (x - 0.5))),
    "linear": lambda x: x,
    "lats": lambda x: x + math.sin(math.pi * x) / math.pi,
}
"""The share of D at x = n / N, as the papers' code has it."""


def by_sgd(network: str, *, seed: int = 0, **settings: Any) -> Loop:
    """Under plain SGD, whose step is -η dL/dw, with no step at which masks are projected."""
    loop = Loop(STDS, network, seed=seed)
    loop.pruner.detach()
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=LR)
    usual = {"every": 4, "strength": D, "total_steps": STEPS, "example_input": loop.x[:2]}
    loop.pruner = STDS(loop.model, optimizer=loop.optimizer, **usual | settings)
    return loop


def weights(loop: Loop) -> dict[str, Tensor]:
    return {n: w.detach().clone() for n, w in loop.pruner.masks.weights.items()}


@pytest.mark.parametrize("network", ["chain", "snnTorch"])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_every_step_is_the_one_by_hand(network: str, threshold: Any) -> None:
    """θ learns everywhere, and the weights that are zero are those of |θ| <= d, at every step."""
    loop = by_sgd(network, threshold=threshold)
    theta = weights(loop)
    closed = 0
    for step in range(1, STEPS + 5):
        loop.backward()
        for name, w in loop.pruner.masks.weights.items():
            theta[name] = theta[name] - LR * w.grad
        loop.optimizer.step()
        loop.pruner.step()
        d = D * AT[threshold](min(1.0, step / STEPS))
        assert loop.pruner.d == pytest.approx(d, abs=1e-12)
        closed = 0
        for name, w in weights(loop).items():
            t = theta[name]
            assert torch.allclose(w, t.sign() * (t.abs() - d).clamp(min=0), atol=1e-6)
            clear = (t.abs() - d).abs() > 1e-5  # of what summation order leaves open
            assert torch.equal((w == 0)[clear], (t.abs() <= d)[clear])
            assert torch.equal(loop.pruner.masks.mask(name), w != 0)
            closed += int((w == 0).sum())
    assert closed > 100
    assert loop.pruner.d == D


def test_a_weight_may_come_back_with_the_other_sign() -> None:
    loop = by_sgd("chain")
    loop.optimizer.param_groups[0]["lr"] = 1.0
    seen = [weights(loop)]
    for _ in range(30):
        loop.run(1)
        seen.append(weights(loop))
    flipped = 0
    for name in seen[0]:
        signs = torch.stack([w[name].sign() for w in seen])
        flipped += int(((signs > 0).any(0) & (signs < 0).any(0) & (signs == 0).any(0)).sum())
    assert flipped > 0


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_thresholds_rise_from_the_warm_up_to_the_end(threshold: Any) -> None:
    loop = by_sgd("chain", threshold=threshold, warmup=4, until=STEPS, total_steps=None)
    seen = []
    for _ in range(STEPS):
        seen.append(loop.pruner.d)
        loop.run(1)
    seen.append(loop.pruner.d)
    assert seen[:5] == pytest.approx([0.0] * 5)
    assert seen[-1] == pytest.approx(D)
    assert all(before < after for before, after in pairwise(seen[4:]))


def test_lats_steps_as_a_cosine_rate_does() -> None:
    """d' ∝ η, so that each increment is the L1 step of one and the same penalty."""
    loop = by_sgd("chain", threshold="lats", total_steps=1000)
    ratios = []
    for n in range(1, 900):
        loop.pruner.steps = n - 1
        before = loop.pruner.d
        loop.pruner.steps = n + 1
        ratios.append((loop.pruner.d - before) / (1 + math.cos(math.pi * n / 1000)))
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-3)


def test_sparsity_rises_with_strength() -> None:
    reached = []
    for strength in (0.0, 0.02, 0.05, 0.1, 0.3):
        loop = by_sgd("chain", strength=strength)
        loop.run(STEPS)
        reached.append(loop.pruner.sparsity_reached)
    assert reached == sorted(reached)
    assert reached[0] == 0.0
    assert reached[-1] > 0.5


@pytest.mark.parametrize(
    "bad", [{"threshold": "cosine"}, {"strength": -0.1}, {"total_steps": 0}, {"total_steps": None}]
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    settings = {"every": 2, "total_steps": 8} | bad
    with pytest.raises(mg.ConfigError, match=next(iter(bad))):
        STDS(model, example_input=x, optimizer=torch.optim.SGD(model.parameters()), **settings)
    assert list(model.state_dict()) == keys
