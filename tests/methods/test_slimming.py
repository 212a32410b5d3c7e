"""Slimming: scores by hand, the penalty's gradient, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from test_contract import Loop

import microglia as mg
import zoo
from microglia.methods import Slimming


def scale(loop: Loop, norm: str) -> torch.Tensor:
    return loop.model.get_submodule(norm).weight


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_channels_of_largest_scale_stay(seed: int) -> None:
    loop = Loop(Slimming, "chain", sparsity=0.4, seed=seed)
    with torch.no_grad():
        for norm in ("body.1", "body.5"):
            scale(loop, norm).mul_(torch.randn(len(scale(loop, norm))))  # of either sign
    loop.pruner.calibrate()
    scales = torch.cat([scale(loop, norm).detach().abs() for norm in ("body.1", "body.5")])
    keep = torch.cat([loop.pruner.masks.keep()[name] for name in ("body.0", "body.4")])
    assert set(keep.nonzero().flatten().tolist()) == set(scales.topk(12).indices.tolist())


def test_a_stream_gets_the_mean_over_its_norms() -> None:
    loop = Loop(Slimming, "pre-activation", sparsity=0.5)
    loop.pruner.calibrate()
    norms = [f"body.blocks.{i}.bn1" for i in range(3)]
    expected = torch.stack([scale(loop, norm).detach().abs() for norm in norms]).mean(0)
    assert torch.allclose(loop.pruner.scores()["body.stem"], expected)


def test_a_norm_over_two_layers_scores_each_by_its_own_part() -> None:
    model, x = zoo.make("concatenation, groups")
    pruner = mg.Slimming(
        model, example_input=x, sparsity=0.5, protect=["body.mix", "body.grouped"], penalty=1.0
    )
    gamma = model.get_submodule("body.bn").weight
    assert torch.allclose(pruner.penalty(), gamma.abs().sum())
    pruner.calibrate()
    assert torch.equal(pruner.scores()["body.a"], gamma.detach()[:6].abs())
    assert torch.equal(pruner.scores()["body.b"], gamma.detach()[6:].abs())


def test_the_penalty_pulls_at_the_scales_of_open_channels_alone() -> None:
    loop = Loop(Slimming, "chain", sparsity=0.5, penalty=0.01)
    for closed in (False, True):
        if closed:
            loop.pruner.calibrate()
        loop.optimizer.zero_grad()
        loop.pruner.penalty().backward()
        pulled = {n: p.grad for n, p in loop.model.named_parameters() if p.grad is not None}
        assert set(pulled) == {"body.1.weight", "body.5.weight"}
        for group, norm in (("body.0", "body.1"), ("body.4", "body.5")):
            expected = 0.01 * scale(loop, norm).sign() * loop.pruner.masks.keep()[group]
            assert torch.allclose(pulled[f"{norm}.weight"], expected)


def test_training_with_the_penalty_makes_scales_small() -> None:
    sums = []
    for rate in (0.0, 0.1):
        loop = Loop(Slimming, "chain", sparsity=0.5, penalty=rate)
        loop.run(10)
        sums.append(float(scale(loop, "body.5").detach().abs().sum()))
    assert sums[1] < sums[0] - 0.5


def test_layers_without_a_norm_are_named_and_the_network_is_left_alone() -> None:
    model, x = zoo.make("snnTorch")
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=r"no norm for a BN-scale score in conv2.*protect="):
        mg.Slimming(model, example_input=x, sparsity=0.5)
    assert list(model.state_dict()) == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
