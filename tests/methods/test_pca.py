"""PCA: covariances and widths against NumPy's, the choice of channels, strength and budget."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_contract import Loop
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.methods import PCA
from microglia.methods.parts.covariance import MembraneCovariance
from microglia.methods.parts.trained import listening

STRENGTHS = [0.001, 0.01, 0.05, 0.2, 0.5]


def potentials(loop: Loop, batches: list[Tensor]) -> dict[str, NDArray[Any]]:
    """Time-averaged H of the chain's convolutions, stepped by hand, [samples and pixels, C]."""
    seen: dict[str, list[Tensor]] = {"body.0": [], "body.4": []}

    def keep(name: str) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> None:
            v, total = torch.zeros_like(args[0][0]), torch.zeros_like(args[0][0])
            for x in args[0]:
                h = v + (x - v) / 2.0
                v = h * (h < 1.0)
                total += h
            seen[name].append((total / len(args[0])).movedim(1, -1).reshape(-1, total.shape[1]))

        return hook

    neurons = {"body.0": "body.2", "body.4": "body.6"}
    modules = [loop.model.get_submodule(n) for n in neurons.values()]
    hooks = [m.register_forward_hook(keep(g)) for g, m in zip(neurons, modules, strict=True)]
    loop.model.eval()
    with torch.no_grad():
        for x in batches:
            mg.reset(loop.model)
            loop.model(x)
    mg.reset(loop.model)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(rows).double().numpy() for name, rows in seen.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_widths_explain_the_variance_that_is_asked(seed: int, strength: float) -> None:
    loop = Loop(PCA, "chain", seed=seed, strength=strength)
    batches = [loop.x, loop.x.flip(0)[:4] * 1.3]  # of unequal lengths
    rows = potentials(loop, batches)
    loop.pruner.calibrate(batches)
    for name, kept in loop.pruner.kept().items():
        values, vectors = np.linalg.eigh(np.cov(rows[name].T, bias=True))
        values, vectors = values[::-1], vectors[:, ::-1]
        explained = values.cumsum() / values.sum()
        assert explained[kept - 1] >= 1 - strength - 1e-6
        assert kept == 1 or explained[kept - 2] < 1 - strength + 1e-6

        loadings = np.sqrt((vectors[:, :kept] ** 2 * values[:kept]).sum(1))
        mask = loop.pruner.masks.keep()[name].numpy()
        assert loadings[mask].min() >= loadings[~mask].max(initial=0) - 1e-6


@pytest.mark.parametrize("network", ["chain", "pre-activation", "snnTorch"])
def test_more_strength_is_never_wider(network: str) -> None:
    widths = []
    for strength in [0.0, *STRENGTHS, 0.9]:
        loop = Loop(PCA, network, strength=strength)
        loop.pruner.calibrate([loop.x])
        widths.append(list(loop.pruner.kept().values()))
        assert loop.pruner.reached is None
    for wide, narrow in pairwise(widths):
        assert all(a >= b for a, b in zip(wide, narrow, strict=True))
    assert sum(widths[0]) > sum(widths[-1])


def test_a_budget_is_the_strength_that_meets_it() -> None:
    free = Loop(PCA, "chain", strength=0.3)
    free.pruner.calibrate([free.x])
    sparsity = free.pruner.sparsity_reached
    asked = Loop(PCA, "chain", strength=0.001, sparsity=sparsity)
    change = asked.pruner.calibrate([asked.x])
    assert asked.pruner.kept() == free.pruner.kept() == change.kept
    assert sum(change.kept.values()) == 20 - round(sparsity * 20)
    plain = Loop(PCA, "chain", strength=0.001)
    plain.pruner.calibrate([plain.x])
    assert asked.pruner.reached == plain.pruner.sparsity_reached < sparsity


def test_a_network_called_once_a_timestep_shows_the_same_covariance() -> None:
    found = []
    for name in ("chain", "chain, single-step"):
        model, x = zoo.make(name, T=3)
        model.eval()
        seen = MembraneCovariance(model, mg.analyse(model, x))
        with listening(seen), torch.no_grad():
            for batch in (x, x.flip(-1)):
                mg.reset(model)
                model(batch)
                seen.close()
        found.append(seen.covariances())
    for name, covariance in found[0].items():
        assert torch.allclose(covariance, found[1][name], rtol=1e-3, atol=1e-7)


class Flat(nn.Module):
    """Each channel of a convolution drives the neurons at four places of a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.node, self.fc = nn.Conv2d(3, 6, 3), zoo.MyNeuron(), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.node(self.conv(x).flatten(1)))


def test_places_of_a_flattened_map_are_samples() -> None:
    torch.manual_seed(0)
    model, x = Flat(), torch.rand(5, 3, 4, 4)
    seen = MembraneCovariance(model, mg.analyse(model, x))
    with torch.no_grad():
        model(x)
        current = model.conv(x)
    seen.close()
    rows = current.movedim(1, -1).reshape(-1, 6).double().numpy()
    expected = torch.from_numpy(np.cov(rows.T, bias=True))
    assert torch.allclose(seen.covariances()["conv"], expected, atol=1e-7)


def test_nothing_of_the_measurement_stays_in_the_network() -> None:
    model, x = zoo.make("chain")
    pruner = mg.PCA(model, example_input=x, sparsity=0.5)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    pruner.calibrate([x])
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_what_it_refuses() -> None:
    for strength in (-0.1, 1.0, "much"):
        with pytest.raises(mg.ConfigError, match="strength"):
            Loop(PCA, "chain", strength=strength)
    with pytest.raises(mg.ConfigError, match="no batch"):
        Loop(PCA, "chain").pruner.calibrate([])
    with pytest.raises(mg.ConfigError, match=r"calibrate\(batches\) first"):
        Loop(PCA, "chain").pruner.finalize(0.5)
