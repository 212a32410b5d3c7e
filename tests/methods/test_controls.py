"""The controls: random, uniform-slim, activity, magnitude."""

from __future__ import annotations

import pytest
import torch
from test_contract import Loop, count

import microglia as mg
from microglia.methods import Activity, Magnitude, Random, UniformSlim
from zoo import make


@pytest.mark.parametrize("cls", [Random, UniformSlim])
@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_every_layer_loses_the_same_fraction(cls: type[mg.Pruner], sparsity: float) -> None:
    kept = Loop(cls, "chain", sparsity=sparsity, linear=True).pruner.kept()
    for name, size in {"body.0": 8, "body.4": 12, "body.10": 16}.items():
        assert abs(kept[name] - (1 - sparsity) * size) <= 1


@pytest.mark.parametrize("cls", [Random, UniformSlim])
def test_parameters_are_matched_to_within_one_per_cent(cls: type[mg.Pruner]) -> None:
    from microglia.networks import build

    torch.manual_seed(0)
    model = build("conv5", classes=10, channels=3, T=1, width=0.5)
    pruner = cls(model, example_input=torch.rand(1, 3, 32, 32), target={"parameters": 0.25})
    small = count(pruner.compact().model)
    assert abs(small / count(model) - 0.25) <= 0.01 * 0.25


def test_random_is_random_and_seeded() -> None:
    masks = [
        Loop(Random, "pre-activation", sparsity=0.5, seed=s).pruner.masks.keep() for s in (0, 0, 1)
    ]
    assert all(torch.equal(masks[0][n], masks[1][n]) for n in masks[0])
    assert any(not torch.equal(masks[0][n], masks[2][n]) for n in masks[0])


def test_uniform_slim_gives_weights_the_spread_of_the_narrow_network() -> None:
    dense, x = make("chain", seed=0)
    narrow, _ = make("chain", seed=0)
    pruner = UniformSlim(narrow, example_input=x, sparsity=0.5)
    a, b = dense.get_submodule("body.4").weight, narrow.get_submodule("body.4").weight
    assert torch.allclose(b, a * (8 / 4) ** 0.5)
    assert torch.equal(dense.get_submodule("body.0").weight, narrow.get_submodule("body.0").weight)
    assert all(bool(m[: int(m.sum())].all()) for m in pruner.masks.keep().values())


def test_activity_keeps_what_fires_most() -> None:
    loop = Loop(Activity, "chain", sparsity=0.5, scope="layer")
    loop.model.eval()
    rates: dict[str, torch.Tensor] = {}
    for group in loop.pruner.structure.groups:
        site = group.neurons[0]

        def watch(m: object, args: object, out: torch.Tensor, name: str = group.name) -> None:
            rates[name] = out.flatten(0, 1).mean((0, 2, 3))

        loop.model.get_submodule(site.module).register_forward_hook(watch)
    loop.logits(loop.model)
    loop.model.train()
    expected = {n: r.clone() for n, r in rates.items()}
    loop.pruner.calibrate([loop.x])
    assert loop.model.training
    for name, mask in loop.pruner.masks.keep().items():
        assert torch.allclose(loop.pruner.scores()[name], expected[name], atol=1e-6)
        assert expected[name][mask].min() >= expected[name][~mask].max()
    with pytest.raises(mg.ConfigError, match="no batch"):
        loop.pruner.calibrate([])


def test_magnitude_keeps_the_largest_filters() -> None:
    loop = Loop(Magnitude, "chain", sparsity=0.5, scope="layer")
    loop.pruner.calibrate()
    for name, mask in loop.pruner.masks.keep().items():
        size = loop.model.get_submodule(name).weight.detach().abs().flatten(1).mean(1)
        assert size[mask].min() >= size[~mask].max()


def test_the_filters_of_a_transposed_convolution_are_its_outputs() -> None:
    loop = Loop(Magnitude, "decoder", sparsity=0.5, scope="layer", penalty=0.01)
    up = loop.model.get_submodule("body.up").weight  # [in, out, H, W]
    loop.pruner.calibrate()
    keep = loop.pruner.masks.keep()
    size = up.detach().abs().mean((0, 2, 3))
    mask = keep["body.up"]
    assert len(mask) == 6
    assert size[mask].min() >= size[~mask].max()
    others = sum(
        loop.model.get_submodule(name).weight[m].abs().sum()
        for name, m in keep.items()
        if name != "body.up"
    )
    expected = 0.01 * (others + up[:, mask].abs().sum())
    assert torch.allclose(loop.pruner.penalty(), expected)


def test_a_network_called_once_a_timestep_is_calibrated_by_the_users_own_loop() -> None:
    """At the first step nothing has fired that needs two."""
    torch.manual_seed(0)
    body, x = make("chain, single-step")[0].body, torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        body[0].weight.mul_(0.3)
    seen = []
    body[2].register_forward_hook(lambda m, a, y: seen.append(float(y.sum())))
    for forward in (None, lambda model, images: [model(images) for _ in range(4)]):
        seen.clear()
        pruner = Activity(body, example_input=x, sparsity=0.5)
        seen.clear()
        pruner.calibrate([x], forward=forward)
        assert len(seen) == (1 if forward is None else 4)
        pruner.detach()
