"""Layers whose weights are mostly zero, as sparse matrices."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.errors import ConfigError
from microglia.frameworks import fresh_copy


def sparsify(model: nn.Module, *, density: float = 0.2) -> nn.Module:
    """A copy for inference whose sparsest linear and convolutional layers multiply by CSR matrices.

    A layer is changed where at most `density` of its weights are not zero; a convolution unfolds
    its input into columns first. The copy computes the same up to summation order. Whether it is
    faster depends on the machine and the density: measure it (`compare_latency`). On two cores the
    dense 5-conv network was the faster one down to some 2 % of the weights
    (benchmarks/sparse_latency.py).

    Args:
        model: as `accelerate` gives it, for the fairest comparison; on the CPU.

    Raises:
        ConfigError: a density outside [0, 1], or a network that isn't on the CPU.
    """
    if not 0 <= density <= 1:
        raise ConfigError(f"density: wanted a fraction in [0, 1], got {density}")
    if any(p.device.type != "cpu" for p in model.parameters()):
        raise ConfigError("sparsify: the network is on a GPU; move it to the CPU first")
    sparse = fresh_copy(model).eval().requires_grad_(False)
    made: dict[int, nn.Module] = {}
    for parent in list(sparse.modules()):
        for name, layer in parent.named_children():
            if _mostly_zero(layer, density):
                made.setdefault(id(layer), _SparseLayer(layer))
                setattr(parent, name, made[id(layer)])
    return sparse


def csr_bytes(weight: Tensor) -> int:
    """Bytes of a weight [C_out, ...] as a CSR matrix: values, column indices and row starts, the
    indices of 32 bits, or of 16 where columns are few enough."""
    rows, columns = weight.shape[0], weight[0].numel()
    open_ = int(torch.count_nonzero(weight))
    index = 2 if columns <= 2**16 else 4
    return open_ * (weight.element_size() + index) + 4 * (rows + 1)


def csr_savings(model: nn.Module, *, density: float = 0.2) -> int:
    """Bytes that the layers which `sparsify` would change need less as CSR matrices."""
    layers = [layer for layer in model.modules() if _mostly_zero(layer, density)]
    weights: dict[int, Any] = {id(layer.weight): layer.weight for layer in layers}
    return sum(w.numel() * w.element_size() - csr_bytes(w) for w in weights.values())


def _mostly_zero(layer: nn.Module, density: float) -> bool:
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    )
    if not plain or isinstance(getattr(layer, "padding", 0), str):
        return False
    weight: Any = layer.weight
    return float((weight != 0).float().mean()) <= density


class _SparseLayer(nn.Module):
    """y = W x + b with W in CSR form; leading axes (time, batch) are taken together."""

    rows: Tensor
    columns: Tensor
    values: Tensor
    bias: Tensor | None

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.convolution = isinstance(layer, nn.Conv2d)
        matrix = layer.weight.detach().flatten(1)
        with warnings.catch_warnings():
            # PyTorch calls CSR support a beta, at every first use.
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            csr = matrix.contiguous().to_sparse_csr()
        # Three plain tensors: few of torch's own functions know what to do with a sparse one.
        self.register_buffer("rows", csr.crow_indices().int(), persistent=False)
        self.register_buffer("columns", csr.col_indices().int(), persistent=False)
        self.register_buffer("values", csr.values(), persistent=False)
        self.shape = matrix.shape
        self.register_buffer("bias", layer.bias, persistent=False)
        if self.convolution:
            self.unfolding = {
                "kernel_size": layer.kernel_size,
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
            }

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x) if self.convolution else self._multiplied(x)

    def _matrix(self) -> Tensor:
        return torch.sparse_csr_tensor(
            self.rows, self.columns, self.values, self.shape, check_invariants=False
        )

    def _multiplied(self, x: Tensor) -> Tensor:
        y = (self._matrix() @ x.flatten(0, -2).t().contiguous()).t()
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], -1)

    def _convolved(self, x: Tensor) -> Tensor:
        images = x.flatten(0, -4).contiguous()
        columns = F.unfold(images, **self.unfolding)
        count, fan_in, places = columns.shape
        flat = columns.transpose(0, 1).reshape(fan_in, count * places)
        y = (self._matrix() @ flat).reshape(-1, count, places)
        if self.bias is not None:
            y = y + self.bias[:, None, None]
        sides = [
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, pad, dilation in zip(
                images.shape[-2:], *self.unfolding.values(), strict=True
            )
        ]
        return y.transpose(0, 1).reshape(*x.shape[:-3], -1, *sides)
