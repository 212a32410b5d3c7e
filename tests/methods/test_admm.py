"""ADMM: the alternation by hand, its budget, and that the weights come nearer to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_contract import Loop
from torch import Tensor

import microglia as mg
from microglia.methods import ADMM


def weights(loop: Loop) -> dict[str, Tensor]:
    return {n: w.detach().clone() for n, w in loop.pruner.masks.weights.items()}


def largest(values: dict[str, Tensor], count: int, *, each: bool) -> dict[str, Tensor]:
    """The `count` values of largest size, over all tensors or as many of each; zeros elsewhere."""
    if each:
        return {n: largest({n: v}, count, each=False)[n] for n, v in values.items()}
    ranked = torch.cat([v.abs().flatten() for v in values.values()]).sort(descending=True).values
    return {n: torch.where(v.abs() >= ranked[count - 1], v, 0.0) for n, v in values.items()}


@pytest.mark.parametrize("network", ["chain", "snnTorch"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_alternation_is_the_one_by_hand(network: str, seed: int) -> None:
    loop = Loop(ADMM, network, sparsity=0.8, seed=seed, every=2, until=100)
    size = sum(loop.pruner.sizes().values())
    count = size - round(0.8 * size)
    u = {n: torch.zeros_like(w) for n, w in weights(loop).items()}
    for update in range(4):
        loop.run(2)
        now = weights(loop)
        z = largest({n: w + u[n] for n, w in now.items()}, count, each=False)
        if update:
            u = {n: u[n] + w - z[n] for n, w in now.items()}
        for name in now:
            assert torch.equal(loop.pruner._z.tensors[name], z[name])
            assert torch.allclose(loop.pruner._u.tensors[name], u[name], atol=1e-6)
        assert sum(int((v != 0).sum()) for v in loop.pruner._z.tensors.values()) == count
        assert loop.pruner.sparsity_reached == 0.0
    assert any(v.any() for v in u.values())


def test_layer_scope_takes_the_same_fraction_of_each() -> None:
    loop = Loop(ADMM, "chain", sparsity=0.75, scope="layer", every=2, until=100)
    loop.run(4)
    for name, size in loop.pruner.sizes().items():
        assert abs(int((loop.pruner._z.tensors[name] != 0).sum()) - size / 4) <= 1


def test_the_penalty_draws_the_weights_to_z_less_u() -> None:
    loop = Loop(ADMM, "chain", sparsity=0.8, every=2, until=100, rho=0.3)
    assert float(loop.pruner.penalty()) == 0.0
    loop.run(6)
    loop.optimizer.zero_grad()
    loop.pruner.penalty().backward()
    for name, w in loop.pruner.masks.weights.items():
        z, u = loop.pruner._z.tensors[name], loop.pruner._u.tensors[name]
        assert torch.allclose(w.grad, 0.3 * (w.detach() - z + u), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_residual_falls(seed: int) -> None:
    loop = Loop(ADMM, "chain", sparsity=0.7, every=8, until=1000, rho=1.0, seed=seed)
    residuals = []
    for _ in range(6):
        loop.run(8)
        residuals.append(loop.pruner.residual)
    assert residuals[-1] < 0.6 * residuals[0]


def test_the_cut_keeps_the_weights_of_the_support_and_trains_them_on() -> None:
    loop = Loop(ADMM, "chain", sparsity=0.8, every=2, until=5)
    loop.run(4)
    u = {n: t.clone() for n, t in loop.pruner._u.tensors.items()}
    loop.backward()
    loop.optimizer.step()
    before = weights(loop)
    change = loop.pruner.step()
    assert change is not None
    size = sum(loop.pruner.sizes().values())
    count = size - round(0.8 * size)
    support = largest({n: w + u[n] for n, w in before.items()}, count, each=False)
    for name, w in weights(loop).items():
        assert torch.equal(w, torch.where(support[name] != 0, before[name], 0.0))
    assert float(loop.pruner.penalty()) == 0.0
    masks = loop.pruner.masks.keep()
    assert loop.run(6) == []
    assert all(torch.equal(m, masks[n]) for n, m in loop.pruner.masks.keep().items())
    assert any(not torch.equal(w, before[n]) for n, w in weights(loop).items() if w.any())


@pytest.mark.parametrize("bad", [{"rho": 0.0}, {"rho": -1.0}, {"until": None}, {"until": 1}])
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(mg.ConfigError, match=next(iter(bad))):
        Loop(ADMM, "chain", sparsity=0.5, **{"every": 2, "until": 10} | bad)
