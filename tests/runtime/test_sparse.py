"""Sparse layers compute what dense ones do, and cost the bytes that they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.metrics import measure_peak_memory
from microglia.runtime import accelerate, csr_bytes, csr_savings, sparsify
from microglia.runtime.sparse import _SparseLayer
from zoo import CASES, make


@pytest.mark.parametrize(
    "network", ["chain", "pre-activation", "MS-ResNet", "concatenation, groups"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sparse_copy_computes_the_same(network: str, seed: int) -> None:
    model, x = make(network, T=2, seed=seed)
    mg.WeightMagnitude(model, example_input=x, sparsity=0.9).calibrate()
    model = model.double().eval()
    torch.manual_seed(seed)
    x = torch.rand(4, *CASES[network].shape[1:], dtype=torch.float64)
    for fast in (model, accelerate(model, example_input=x)):
        sparse = sparsify(fast)
        changed = [m for m in sparse.modules() if isinstance(m, _SparseLayer)]
        assert changed
        outputs = []
        for net in (fast, sparse):
            mg.reset(net)
            out = net(x)
            outputs.append(out[0] if isinstance(out, tuple) else out)
        assert torch.allclose(outputs[0], outputs[1], atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, (1, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("leading", [(3,), (2, 3)])
def test_convolutions_of_every_kind(
    stride: int, padding: int | tuple[int, int], dilation: int, leading: tuple[int, ...]
) -> None:
    layer = nn.Conv2d(3, 5, (3, 2), stride=stride, padding=padding, dilation=dilation)
    layer.weight.data *= torch.rand_like(layer.weight) < 0.2
    x = torch.randn(*leading, 3, 9, 8)
    wanted = layer(x.flatten(0, -4))
    sparse = sparsify(nn.Sequential(layer), density=0.5)
    assert isinstance(sparse[0], _SparseLayer)  # type: ignore[index]
    assert torch.allclose(sparse(x).flatten(0, -4), wanted, atol=1e-5)


def test_dense_and_grouped_layers_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3, groups=2))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    assert not any(isinstance(m, _SparseLayer) for m in sparsify(model).modules())
    with pytest.raises(ConfigError, match="density"):
        sparsify(model, density=1.5)


def test_bytes_of_a_csr_matrix() -> None:
    weight = torch.zeros(6, 3, 2, 2)
    weight.view(-1)[[0, 5, 40, 71]] = 1.0
    assert csr_bytes(weight) == 4 * (4 + 2) + 4 * 7
    assert csr_bytes(torch.ones(1, 2**16 + 1)) == (2**16 + 1) * 8 + 8


@pytest.mark.parametrize("network", ["chain", "pre-activation", "MS-ResNet"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_savings_are_those_of_the_layers_that_sparsify_changes(
    network: str, sparsity: float
) -> None:
    model, x = make(network, T=1, seed=0)
    mg.WeightMagnitude(model, example_input=x, sparsity=sparsity, scope="layer").calibrate()
    changed = [name for name, m in sparsify(model).named_modules() if isinstance(m, _SparseLayer)]
    assert bool(changed) == (sparsity > 0.8)
    weights = [model.get_parameter(f"{name}.weight") for name in changed]
    assert csr_savings(model) == sum(4 * w.numel() - csr_bytes(w) for w in weights)


def test_the_memory_of_a_sparse_network_is_measured() -> None:
    """Its columns and its output are in the peak, its weights are not."""
    layer = nn.Conv2d(2, 3, 3, padding=1)
    layer.weight.data *= torch.rand_like(layer.weight) < 0.2
    x = torch.rand(4, 2, 8, 8)
    peak = measure_peak_memory(sparsify(nn.Sequential(layer), density=0.5), x)
    assert peak >= 4 * (2 * 9 + 3) * 4 * 8 * 8
