"""Grad R, Deep R and soft Deep R: synapses whose sign is fixed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_contract import Loop
from torch import Tensor

import microglia as mg
from microglia.methods import DeepR, GradR, SoftDeepR
from microglia.methods.deep_r import NEW
from microglia.methods.parts.draw import drawn

SIGNED = [GradR, DeepR, SoftDeepR]
LR, ALPHA = 0.05, 0.4


def by_sgd(cls: Any, *, seed: int = 0, **settings: Any) -> Loop:
    """Under plain SGD, whose step is -η dL/dw."""
    loop = Loop(cls, "chain", sparsity=0.0, seed=seed)
    loop.pruner.detach()
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=LR)
    usual = {"every": 5, "strength": ALPHA, "sparsity": 0.6, "example_input": loop.x[:2]}
    loop.pruner = cls(loop.model, optimizer=loop.optimizer, **usual | settings)
    return loop


def weights(loop: Loop) -> dict[str, Tensor]:
    return {n: w.detach().clone() for n, w in loop.pruner.masks.weights.items()}


def gradients(loop: Loop) -> dict[str, Tensor]:
    """dL/dw as the loss gives it, before the step."""
    loop.backward()
    return {n: w.grad.clone() for n, w in loop.pruner.masks.weights.items()}


@pytest.mark.parametrize("cls", SIGNED)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_sign_ever_flips(cls: Any, seed: int) -> None:
    settings = {} if cls is GradR else {"temperature": 1e-3}
    loop = Loop(cls, "chain", sparsity=0.5, seed=seed, until=1000, **settings)
    drawn_signs = {n: s.clone() for n, s in loop.pruner._signs.tensors.items()}
    came, went = 0, 0
    before = weights(loop)
    for _ in range(25):
        loop.run(1)
        for name, w in weights(loop).items():
            assert (w * drawn_signs[name] >= 0).all()
            came += int(((before[name] == 0) & (w != 0)).sum())
            went += int(((before[name] != 0) & (w == 0)).sum())
            before[name] = w
    assert came > 10
    assert went > 10
    assert all((s.abs() == 1).all() for s in drawn_signs.values())


# --- Grad R ------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_the_prior_has_the_wanted_share_below_zero(sparsity: float) -> None:
    """μ is where a synapse that learns nothing ends, and Laplace(μ, 1/α) has P(θ < 0) = s*."""
    loop = by_sgd(GradR, sparsity=sparsity, strength=4.0)
    loop.model.requires_grad_(False)
    for _ in range(60):
        loop.optimizer.step()
    ends = torch.cat([loop.pruner._rank(name) for name in loop.pruner.sizes()])  # θ of each
    mu = float(ends.mean())
    assert torch.allclose(ends, torch.full_like(ends, mu), atol=1e-6)
    below = torch.distributions.Laplace(mu, 1 / 4.0).cdf(torch.tensor(0.0))
    assert float(below) == pytest.approx(sparsity, abs=1e-5)


def test_grad_r_steps_as_by_hand() -> None:
    loop = by_sgd(GradR)
    theta = {n: w.abs() for n, w in weights(loop).items()}
    signs = {n: torch.where(w < 0, -1.0, 1.0) for n, w in weights(loop).items()}
    mu = math.log(2 * (1 - 0.6)) / ALPHA
    for _ in range(12):
        for name, g in gradients(loop).items():
            theta[name] = theta[name] - LR * signs[name] * g
            theta[name] = theta[name] - LR * ALPHA * torch.sign(theta[name] - mu)
        loop.optimizer.step()
        loop.pruner.step()
        for name, w in weights(loop).items():
            assert torch.allclose(w, signs[name] * theta[name].relu(), atol=1e-6)
    assert any((t < 0).any() for t in theta.values())


@pytest.mark.parametrize("cls", [GradR, SoftDeepR])
def test_sparsity_rises_with_strength(cls: Any) -> None:
    reached = []
    for strength in (0.0, 0.1, 0.3, 1.0, 3.0):
        loop = Loop(cls, "chain", sparsity=None, density=0.1, until=30, strength=strength, seed=1)
        loop.run(30)
        reached.append(loop.pruner.sparsity_reached)
    assert reached == sorted(reached)
    assert reached[-1] > reached[0] + 0.3


def test_the_usual_strength_pulls_as_far_in_a_long_run_as_in_a_short_one() -> None:
    far = [by_sgd(GradR, strength=None, until=n).pruner.strength * n * LR for n in (100, 10_000)]
    assert far == pytest.approx([0.6, 0.6])
    assert by_sgd(GradR, strength=None, until=5).pruner.strength == 0.5
    with pytest.raises(mg.ConfigError, match="until="):
        by_sgd(GradR, strength=None)


# --- Deep R ------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("network", ["chain", "snnTorch"])
@pytest.mark.parametrize("sparsity", [0.0, 0.4, 0.9])
def test_the_number_of_synapses_is_the_same_at_every_step(
    scope: Any, network: str, sparsity: float
) -> None:
    loop = Loop(DeepR, network, sparsity=sparsity, scope=scope, temperature=1e-3, strength=0.5)
    first = loop.pruner.kept()
    total = sum(loop.pruner.sizes().values())
    masks = loop.pruner.masks.keep()
    for _ in range(12):
        loop.run(1)
        kept = loop.pruner.kept()
        assert sum(kept.values()) == total - round(sparsity * total)
        assert min(kept.values()) >= 1
        if scope == "layer":
            assert kept == first
    now = loop.pruner.masks.keep()
    assert sparsity == 0 or any(not torch.equal(now[n], masks[n]) for n in now)


def test_deep_r_steps_as_by_hand() -> None:
    """Active synapses learn and shrink, those that cross zero go, and what grows is next to 0."""
    loop = by_sgd(DeepR)
    for _ in range(8):
        before, masks = weights(loop), loop.pruner.masks.keep()
        signs = loop.pruner._signs.tensors
        expected = {}
        for name, g in gradients(loop).items():
            open_ = masks[name].view(g.shape)
            moved = before[name] - LR * g - LR * ALPHA * signs[name]
            expected[name] = torch.where(open_ & (moved * signs[name] > 0), moved, 0.0)
        loop.optimizer.step()
        grown = 0
        for name, w in weights(loop).items():
            new = loop.pruner.masks.mask(name) & (expected[name] == 0)
            assert torch.allclose(w[~new], expected[name][~new], atol=1e-7)
            assert torch.equal(w[new], NEW * signs[name][new])
            grown += int(new.sum())
        assert grown > 0
        loop.pruner.step()


def test_what_grows_is_drawn_evenly() -> None:
    g = torch.Generator().manual_seed(0)
    for count, total in ((3, 40), (30, 40)):
        times = torch.zeros(total)
        for _ in range(4000):
            chosen = drawn(count, total, g)
            assert chosen.unique().numel() == count
            times[chosen] += 1
        share = count / total
        assert (times / 4000 - share).abs().max() < 5 * math.sqrt(share * (1 - share) / 4000)


def test_an_optimizer_forgets_dormant_synapses() -> None:
    loop = Loop(DeepR, "chain", sparsity=0.8, until=1000)
    loop.run(4)
    before = loop.pruner.masks.keep()
    loop.run(1)
    for name, weight in loop.pruner.masks.weights.items():
        asleep = ~before[name].view(weight.shape)
        assert not loop.optimizer.state[weight]["exp_avg"][asleep].any()


# --- soft Deep R -------------------------------------------------------------------------


def test_dormant_synapses_get_nothing_but_noise() -> None:
    loop = Loop(SoftDeepR, "chain", sparsity=0.5, until=1000, temperature=0.0, strength=0.5)
    loop.run(6)
    theta = loop.pruner._theta.tensors
    signs = loop.pruner._signs.tensors
    asleep = {n: t * signs[n] <= 0 for n, t in theta.items()}
    assert all(a.any() for a in asleep.values())
    for _ in range(5):  # Adam's momentum and weight decay would move them
        loop.run(1)
        for name, w in weights(loop).items():
            assert not w[asleep[name]].any()

    # Of its budget's 0.4 it leans to a tenth by itself.
    for density, p in ((0.4, 0.4), (None, 0.04)):
        _walks_above_its_lowest(density, lowest=-1e-3 * (1 - p) / (ALPHA * p))


def _walks_above_its_lowest(density: float | None, *, lowest: float) -> None:
    loop = by_sgd(SoftDeepR, temperature=1e-3, density=density)
    signs = loop.pruner._signs.tensors
    loop.run(10)
    before = {n: t * signs[n] for n, t in loop.pruner._theta.tensors.items()}
    loop.backward()
    again = torch.Generator().manual_seed(0)
    again.set_state(loop.pruner.generator.get_state())
    loop.optimizer.step()
    for name, theta_now in loop.pruner._theta.tensors.items():
        walk = math.sqrt(2 * LR * 1e-3) * torch.randn(theta_now.shape, generator=again)
        dormant = before[name] <= 0
        expected = (before[name] + walk).clamp(min=lowest)[dormant]
        assert torch.allclose((theta_now * signs[name])[dormant], expected, atol=1e-7)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_synapses_that_learn_nothing_are_active_as_often_as_wanted(density: float) -> None:
    """The stationary law of the walk: Boltzmann above zero, even below."""
    loop = by_sgd(SoftDeepR, density=density, temperature=1.0, strength=1.0)
    loop.model.requires_grad_(False)
    loop.optimizer.param_groups[0]["lr"] = 4e-3
    seen = []
    for step in range(4000):
        loop.optimizer.step()
        if step > 2500 and step % 100 == 0:
            seen.append(1 - loop.pruner.sparsity_reached)
    assert sum(seen) / len(seen) == pytest.approx(density, abs=0.03)


@pytest.mark.parametrize("cls", SIGNED)
def test_a_refused_setting_leaves_the_network_alone(cls: Any) -> None:
    for bad in ({"strength": -1.0}, {"temperature": -1.0}, {"density": 0.0}):
        if (cls is GradR and "temperature" in bad) or (cls is DeepR and "density" in bad):
            continue
        with pytest.raises(mg.ConfigError, match=next(iter(bad))):
            by_sgd(cls, **bad)
