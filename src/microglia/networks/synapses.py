"""Sparse synapses in torch: multiplied and trained at the cost of their edges."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from scipy import sparse
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK = 1 << 22  # products held at a time, at most, on the way back
SMALL = 1 << 18  # N K up to which all products are cheaper than finding those that aren't zero


class Synapses(nn.Module):
    """y = W x of features [..., K], W [N, K] held as CSR; its pattern never changes.

    ``values`` [E] is the parameter; ``starts`` [N + 1] and ``pre`` [E] say where they stand.
    Forward costs E a sample; backward the gradient of the values costs as many products as x that
    aren't zero meet synapses: for spikes, their SynOps. Of a small W all N K are computed.
    """

    starts: Tensor
    pre: Tensor
    out_starts: Tensor
    out_post: Tensor
    out_order: Tensor
    place: Tensor

    def __init__(self, matrix: sparse.csr_array, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        matrix = matrix.copy()
        matrix.sum_duplicates()
        self.shape = matrix.shape
        post, pre = (torch.as_tensor(axis).long() for axis in matrix.tocoo().coords)
        values = torch.as_tensor(matrix.data.copy()).to(dtype or torch.get_default_dtype())
        self.values = nn.Parameter(values)
        self.register_buffer("starts", _starts(post, self.shape[0]))
        self.register_buffer("pre", pre)
        self._order()

    def _order(self) -> None:
        """The same pattern by presynaptic neurons, and as places in W, for the way back."""
        post = torch.repeat_interleave(self.starts.diff())
        order = torch.argsort(self.pre, stable=True)
        self.register_buffer("out_starts", _starts(self.pre, self.shape[1]), persistent=False)
        self.register_buffer("out_post", post[order], persistent=False)
        self.register_buffer("out_order", order, persistent=False)
        self.register_buffer("place", post * self.shape[1] + self.pre, persistent=False)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._order()

    def matrix(self) -> sparse.csr_array:
        """W, in float64."""
        values = self.values.detach().double().cpu().numpy().copy()
        places = self.pre.cpu().numpy().copy(), self.starts.cpu().numpy().copy()
        return sparse.csr_array((values, *places), shape=self.shape)

    def forward(self, x: Tensor) -> Tensor:
        flat: Any = _Multiply.apply(x.flatten(0, -2), self.values, self)
        y: Tensor = flat.unflatten(0, x.shape[:-1])
        return y

    def extra_repr(self) -> str:
        return f"{self.shape[1]} -> {self.shape[0]}, {len(self.values)} synapses"


def _starts(rows: Tensor, N: int) -> Tensor:
    counts = torch.bincount(rows, minlength=N)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch calls CSR support a beta, at its first use.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, synapses: Synapses) -> Tensor:
        ctx.save_for_backward(x, values)
        ctx.synapses = synapses
        W = _csr(synapses.starts, synapses.pre, values, synapses.shape)
        return (W @ x.t().contiguous()).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, values = ctx.saved_tensors
        synapses: Synapses = ctx.synapses
        back = new = None
        if ctx.needs_input_grad[0]:
            N, K = synapses.shape
            ordered = values[synapses.out_order]
            W_t = _csr(synapses.out_starts, synapses.out_post, ordered, (K, N))
            back = (W_t @ grad.t().contiguous()).t()
        if ctx.needs_input_grad[1]:
            new = _gradient(x, grad, synapses)
        return back, new, None


def _gradient(x: Tensor, grad: Tensor, synapses: Synapses) -> Tensor:
    """Σ_n grad[n, post_e] x[n, pre_e] of each synapse e."""
    N, K = synapses.shape
    if N * K <= SMALL:
        return (grad.t() @ x).take(synapses.place)
    new = x.new_zeros(len(synapses.pre))
    some = max(1, CHUNK // max(1, len(new)))
    for x_, grad_ in zip(x.split(some), grad.split(some), strict=True):
        _add_products(new, x_, grad_, synapses)
    return new


def _add_products(new: Tensor, x: Tensor, grad: Tensor, synapses: Synapses) -> None:
    """new_e += Σ_n grad[n, post_e] x[n, pre_e], over the x that aren't zero."""
    sample, source = x.nonzero(as_tuple=True)
    first = synapses.out_starts[source]
    count = synapses.out_starts[source + 1] - first
    # Runs first, first + 1, ... of the synapses out of each x, end to end.
    run = torch.arange(int(count.sum()), device=x.device)
    place = run + (first - (count.cumsum(0) - count)).repeat_interleave(count)
    sent = x[sample, source].repeat_interleave(count)
    met = grad[sample.repeat_interleave(count), synapses.out_post[place]]
    new.index_add_(0, synapses.out_order[place], met * sent)
