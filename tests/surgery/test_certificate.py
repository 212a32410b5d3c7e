"""Compacted networks compute what masked ones compute, and what doesn't is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.surgery import Certificate, certify, cut

EVERY_MASK = [
    (name, sparsity, T, seed)
    for name in zoo.CASES
    for T in (1, 4, 8)
    for sparsity in (0.3, 0.5, 0.7, 0.9)
    for seed in (0, 1)
]
# Each small network once, at a mask and a length of its own; the whole matrix under --full.
A_FEW = [
    (name, (0.3, 0.5, 0.7, 0.9)[i % 4], (4, 8, 1, 4)[(i + i // 4) % 4], 0)
    for i, name in enumerate(zoo.SMALL)
] + [("chain", 0.9, 8, 1), ("pre-activation", 0.7, 1, 1), ("recurrent, single-step", 0.5, 8, 1)]


@pytest.mark.parametrize(("name", "sparsity", "T", "seed"), zoo.whole_or_sampled(A_FEW, EVERY_MASK))
def test_masked_and_compacted_are_the_same(name: str, sparsity: float, T: int, seed: int) -> None:
    model, x, structure, keep = zoo.masked(name, sparsity=sparsity, T=T, seed=seed)
    small, _ = cut(model, structure, keep)
    certificate = certify(model, small, structure, keep, x)
    assert certificate.output_difference <= 1e-10
    assert certificate.precision == "float32"
    assert certificate.flips <= 1e-3 * certificate.neurons
    assert certificate.neurons > 0
    if T >= 4 and sparsity <= 0.5:  # of a few narrow layers nothing is left that could fire
        assert not certificate.silent_layers, "the comparison says nothing of these layers"
        assert certificate.spikes > 0.01 * certificate.neurons
    widths = sum(p.numel() for p in small.parameters())
    assert widths < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_dense_network_is_driven_so_that_silence_hides_nothing(name: str) -> None:
    model, x = zoo.make(name, T=4)
    structure = zoo.structure_of(name, T=4)
    certificate = certify(model, copy.deepcopy(model), structure, {}, x)
    assert not certificate.silent_layers
    assert 0.02 < certificate.spikes / certificate.neurons < 0.98


# --- without the certificate: weights at which float32 adds up exactly ------------------------


def dyadic(model: nn.Module) -> None:
    """Small multiples of 1/64 everywhere: sums of them are exact in float32, in any order."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # Scales of 1 over a deviation of 1: norms that shift by a multiple of 1/64.
                module.eps = 0.0
                module.running_var.fill_(1.0)
                module.running_mean.copy_(rounded(module.running_mean))
                module.weight.copy_(rounded(module.weight, least=1 / 64))
                module.bias.copy_(rounded(module.bias))
            elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                for p in module.parameters(recurse=False):
                    p.copy_(rounded(p.clamp(-2, 2)))
    for name, p in model.named_parameters():
        if "leak" in name or "scale" in name:
            p.data.copy_(rounded(p, steps=4))


def rounded(x: Tensor, *, steps: int = 64, least: float = 0.0) -> Tensor:
    return ((x * steps).round() / steps).clamp(min=least) if least else (x * steps).round() / steps


EXACT = [
    "chain",
    "chain, single-step",
    "concatenation, groups",
    "pre-activation",
    "recurrent, multi-step",
    "recurrent, single-step",
    "MS-ResNet",
    "SEW-ResNet",
    "spiking ResNet",
    "functional",
]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("seed", zoo.whole_or_sampled([0], range(6)))
def test_with_dyadic_weights_float32_is_bit_equal(name: str, seed: int) -> None:
    model, x = zoo.make(name, T=2, seed=seed)
    dyadic(model)
    x = rounded(x, steps=8)
    structure = zoo.structure_of(name, T=2)
    keep = zoo.random_keep(structure, (0.3, 0.6)[seed % 2], seed)
    gates = Gates(model, structure)
    gates.set(keep)
    small, _ = cut(model, structure, keep)
    for net in (model, small):
        net.eval()
        mg.reset(net)
    with torch.no_grad():
        masked, compacted = model(x), small(x)
        assert torch.equal(masked, compacted)
        gates.set(structure.everything())
        mg.reset(model)
        assert not torch.equal(model(x), masked), "the mask changes nothing, so this says nothing"


# --- what is refused --------------------------------------------------------------------------


def tampered(
    name: str, *, T: int = 4, sparsity: float = 0.4
) -> tuple[nn.Module, nn.Module, Any, dict[str, Tensor], Tensor]:
    model, x, structure, keep = zoo.masked(name, sparsity=sparsity, T=T)
    small, _ = cut(model, structure, keep)
    certify(model, small, structure, keep, x)
    return model, small, structure, keep, x


def change_a_weight(small: nn.Module) -> None:
    weight = next(m.weight for m in small.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    weight.data.view(-1)[0] += 0.5


def change_the_last_weight_a_little(small: nn.Module) -> None:
    last = [m for m in small.modules() if isinstance(m, (nn.Conv2d, nn.Linear))][-1]
    last.weight.data.view(-1)[:] += 1e-8


def swap_two_channels(small: nn.Module) -> None:
    conv = next(m for m in small.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    conv.weight.data[:2] = conv.weight.data[:2].flip(0).clone()


def add_a_bias(small: nn.Module) -> None:
    norm = [m for m in small.modules() if isinstance(m, (nn.BatchNorm2d, nn.Conv2d, nn.Linear))]
    next(m for m in norm if m.bias is not None).bias.data += 0.3


def change_a_statistic(small: nn.Module) -> None:
    next(m for m in small.modules() if isinstance(m, nn.BatchNorm2d)).running_mean += 0.3


def change_a_threshold(small: nn.Module) -> None:
    next(m for m in small.modules() if isinstance(m, neuron.BaseNode)).v_threshold = 0.7


def drop_a_timestep(small: nn.Module) -> None:
    small.T -= 1


@pytest.mark.parametrize(
    "tamper",
    [
        change_a_weight,
        change_the_last_weight_a_little,
        swap_two_channels,
        add_a_bias,
        change_a_statistic,
        change_a_threshold,
        drop_a_timestep,
    ],
)
@pytest.mark.parametrize("name", ["chain", "pre-activation"])
def test_a_tampered_network_is_refused(name: str, tamper: Any) -> None:
    model, small, structure, keep, x = tampered(name)
    tamper(small)
    with pytest.raises(mg.CertificateError):
        certify(model, small, structure, keep, x)


def test_a_network_cut_by_another_mask_is_refused() -> None:
    model, _, structure, keep, x = tampered("chain")
    other = {name: mask.roll(1) for name, mask in keep.items()}
    with pytest.raises(mg.CertificateError):
        certify(model, cut(model, structure, other)[0], structure, keep, x)
    with pytest.raises(mg.CertificateError, match="shapes"):
        certify(model, cut(model, structure, {})[0], structure, keep, x)


def test_the_refusal_names_the_first_layer_that_differs() -> None:
    model, small, structure, keep, x = tampered("chain")
    small.body[4].bias.data += 1.0
    with pytest.raises(mg.CertificateError, match=r"body\.6.*does not fire"):
        certify(model, small, structure, keep, x)


class Restless(zoo.MyNeuron):
    """Fires without an input: its potential drifts up by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.4)


class Biased(nn.Module):
    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.conv, self.node, self.fc = nn.Conv2d(3, 8, 3), node, nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.node(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    "node",
    [
        lambda: Restless(),
        lambda: neuron.IFNode(v_threshold=-0.5, v_reset=None),
        lambda: neuron.LIFNode(tau=2.0, v_threshold=0.1, v_reset=0.5),
    ],
)
def test_a_neuron_that_fires_without_an_input_is_refused(node: Any) -> None:
    """Removing it would remove spikes, which no gate on its input can hold back."""
    model, x = zoo.OverTime(Biased(node()), 4), torch.rand(2, 3, 8, 8)
    structure = mg.analyse(model, x)
    keep = {"body.conv": torch.tensor([True] * 4 + [False] * 4)}
    Gates(model, structure).set(keep)
    small, _ = cut(model, structure, keep)
    with pytest.raises(mg.CertificateError, match="silent"):
        certify(model, small, structure, keep, x)


def test_certifying_mutates_nothing() -> None:
    model, small, structure, keep, x = tampered("chain, single-step")
    model.train()
    model(x)
    small.train()
    small(x)
    before, theirs = zoo.snapshot(model), zoo.snapshot(small)
    certify(model, small, structure, keep, x)
    for a, b in ((before, zoo.snapshot(model)), (theirs, zoo.snapshot(small))):
        assert a.keys() == b.keys()
        assert not [k for k in a if not zoo.same(a[k], b[k])]


def test_a_certificate_reads_well_and_goes_into_json() -> None:
    model, small, structure, keep, x = tampered("chain")
    certificate = certify(model, small, structure, keep, x)
    assert isinstance(certificate, Certificate)
    assert f"{certificate.spikes:,} spikes" in str(certificate)
    assert Certificate(**certificate.to_dict()) == certificate


def test_a_double_network_is_certified_in_its_own_precision() -> None:
    model, x = zoo.make("chain", T=4)
    model, x = model.double(), x.double()
    structure = zoo.structure_of("chain", T=4)
    keep = zoo.random_keep(structure, 0.5, 0)
    Gates(model, structure).set(keep)
    certificate = certify(model, cut(model, structure, keep)[0], structure, keep, x)
    assert (certificate.precision, certificate.flips) == ("float64", 0)


def test_a_certificate_of_silence_says_that_it_says_nothing() -> None:
    model, x = zoo.make("chain")
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    structure = mg.analyse(model, x)
    certificate = certify(model, copy.deepcopy(model), structure, {}, x)
    assert certificate.spikes == 0
    assert "says nothing" in str(certificate)
