"""Optimal brain surgery: which weight of a row to remove next, and what the others do then."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 2**22  # numbers in the inverses of the rows that are held at once


def damped(hessian: Tensor, share: float) -> Tensor:
    """H with a share of its mean diagonal added to the diagonal, `[groups, d, d]`."""
    mean = hessian.diagonal(dim1=1, dim2=2).mean(1)
    mean = torch.where(mean > 0, share * mean, 1.0)  # a layer that sees nothing has no H
    return hessian + mean[:, None, None] * torch.eye(hessian.shape[1]).to(hessian)


def losses(weights: Tensor, hessian: Tensor, *, rounds: int) -> Tensor:
    """What it costs to remove each weight in its turn, rising with the turn; `[rows, d]`.

        next     least w_j² / [H⁻¹]_jj of the row
        then     w −= H⁻¹_{:,P} (H⁻¹_PP)⁻¹ w_P,   H⁻¹ −= H⁻¹_{:,P} (H⁻¹_PP)⁻¹ H⁻¹_{P,:}

    Rows are independent. At most `rounds` sets P are removed one after the other, of one weight
    each where the row has no more.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    size = max(1, AT_ONCE // inverse.numel())
    parts = [_in_turn(rows, inverse, rounds=rounds) for rows in weights.split(size)]
    return torch.cat(parts)


def _in_turn(weights: Tensor, inverse: Tensor, *, rounds: int) -> Tensor:
    rows, d = weights.shape
    w, inverse = weights.clone(), inverse.expand(rows, d, d).clone()
    found, worst = torch.zeros_like(w), w.new_zeros(rows, 1)
    alive = torch.ones_like(w, dtype=torch.bool)
    at_once = -(-d // rounds)
    for turn in range(0, d, at_once):
        saliency = (w.square() / inverse.diagonal(dim1=1, dim2=2)).masked_fill(~alive, torch.inf)
        value, chosen = saliency.topk(min(at_once, d - turn), largest=False)
        worst = torch.maximum(value, worst[:, -1:]).cummax(1).values
        order = 1 + 1e-9 * torch.arange(turn, turn + value.shape[1]).to(w)  # no ties in a row
        found.scatter_(1, chosen, worst * order)
        alive.scatter_(1, chosen, False)
        columns = inverse.gather(2, chosen[:, None, :].expand(-1, d, -1))
        block = columns.gather(1, chosen[:, :, None].expand(-1, -1, value.shape[1]))
        solved = torch.linalg.solve(block, columns.transpose(1, 2))
        w = w - (w.gather(1, chosen)[:, None, :] @ solved)[:, 0]
        inverse.baddbmm_(columns, solved, alpha=-1)
    return found


def compensated(weights: Tensor, hessian: Tensor, keep: Tensor) -> Tensor:
    """The rows nearest to these, (w' − w)ᵀ H (w' − w), that are zero where `keep` is not.

    w'_S = (H_SS)⁻¹ H_S: w, which is where any order of removals leads.
    """
    found = torch.zeros_like(weights)
    targets = weights @ hessian
    for row, (stays, target) in enumerate(zip(keep, targets, strict=True)):
        if stays.all():
            found[row] = weights[row]
        elif stays.any():
            factor = torch.linalg.cholesky(hessian[stays][:, stays])
            found[row, stays] = torch.cholesky_solve(target[stays, None], factor)[:, 0]
    return found
