"""Compacted computes what masked computes, on every network, mask and number of timesteps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import microglia as mg
import zoo
from microglia.frameworks import fresh_copy
from microglia.gates import Gates
from microglia.surgery import certify, compact, cut

SPARSITIES = [0.3, 0.5, 0.7, 0.9]
STEPS = [1, 4, 8]


def gated(name: str, *, T: int, sparsity: float, seed: int):
    model, x = zoo.make(name, T=T, seed=seed)
    structure = mg.analyse(model, x)
    keep = zoo.random_keep(structure, sparsity, seed=seed)
    Gates(model, structure).set(keep)
    return model, structure, keep, x


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_sampled_masks(name: str) -> None:
    seed = zoo.NETWORKS.index(name)
    sparsity, T = SPARSITIES[seed % 4], STEPS[seed % 3]
    model, structure, keep, x = gated(name, T=T, sparsity=sparsity, seed=seed)
    certificate = compact(model, structure, keep, example_input=x).certificate
    assert certificate is not None
    assert certificate.neurons > 0
    assert certificate.spikes > 0
    assert certificate.output_difference <= 1e-10


@pytest.mark.full
@pytest.mark.parametrize("name", zoo.NETWORKS)
@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("T", STEPS)
def test_every_mask(name: str, sparsity: float, T: int) -> None:
    model, structure, keep, x = gated(name, T=T, sparsity=sparsity, seed=T)
    certificate = compact(model, structure, keep, example_input=x).certificate
    assert certificate is not None
    assert certificate.spikes > 0


def dyadic(model: nn.Module) -> None:
    """Weights whose sums float32 holds exactly, so that the order of summation can't matter."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.zero_()
                module.running_var.fill_(1.0 - module.eps)
            for p in module.parameters(recurse=False):
                p.copy_((p * 16).round() / 16)


@pytest.mark.parametrize("name", ["plain PyTorch, shared", "recurrent, hand-written"])
def test_dyadic_weights_are_bit_equal_in_float32(name: str) -> None:
    model, x = zoo.make(name, T=4)
    dyadic(model)
    x = (x * 16).round() / 16
    structure = mg.analyse(model, x)
    keep = zoo.random_keep(structure, 0.5, seed=1)
    gates = Gates(model, structure)
    gates.set(keep)
    small, _ = cut(model, structure, keep)
    with torch.no_grad():
        mg.reset(model)
        masked = model.eval()(x)
        assert torch.equal(masked, small.eval()(x))
        gates.set(structure.everything())
        mg.reset(model)
        assert not torch.equal(masked, model(x)), "the mask must matter"


@pytest.mark.parametrize("tamper", ["weight", "bias", "swap"])
def test_a_tampered_network_is_refused(tamper: str) -> None:
    model, structure, keep, x = gated("chain", T=4, sparsity=0.5, seed=1)
    small, _ = cut(model, structure, keep)
    certify(model, small, structure, keep, x)
    layer = small.get_submodule("body.0")
    with torch.no_grad():
        if tamper == "weight":
            layer.weight.view(-1)[0] += 0.5
        elif tamper == "bias":
            small.get_submodule("body.12").bias[0] += 1e-6
        else:
            layer.weight.copy_(layer.weight.flip(0))
    with pytest.raises(mg.CertificateError):
        certify(model, small, structure, keep, x)


class Restless(zoo.MyNeuron):
    """Fires without any input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 2.0)


def test_a_neuron_that_fires_at_zero_input_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), Restless(), nn.Flatten(), nn.Linear(4 * 16, 2))
    x = torch.rand(2, 1, 6, 6)
    pruner = mg.Random(model, example_input=x, sparsity=0.5)
    with pytest.raises(mg.CertificateError, match="stay silent"):
        pruner.compact()


def test_certifying_changes_nothing() -> None:
    model, structure, keep, x = gated("snnTorch", T=4, sparsity=0.5, seed=2)
    small, _ = cut(model, structure, keep)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    certify(model, small, structure, keep, x)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert fresh_copy(model) is not model
