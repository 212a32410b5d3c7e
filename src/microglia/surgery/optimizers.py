"""Carry an optimizer, a scheduler and a moving average over to a network of another width."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from microglia.errors import ConfigError

Reshape = Callable[[str, Tensor], Tensor]
"""(name of a parameter, a tensor of its old shape) -> the same in the new shape."""


def carry_optimizer(
    optimizer: Optimizer, old: nn.Module, new: nn.Module, reshape: Reshape
) -> Optimizer:
    """The same optimizer over the new network's parameters, its state reshaped with them.

    State tensors of a parameter's shape (momentum, Adam's moments) are reshaped, others (step
    counts) copied. Parameters of the optimizer that are not the network's are kept as they are.

    Raises:
        ConfigError: a state tensor whose shape is neither its parameter's nor a scalar's.
    """
    names = {id(p): name for name, p in old.named_parameters()}
    parameters = dict(new.named_parameters())
    renamed: dict[int, Tensor] = {}
    groups = []
    for group in optimizer.param_groups:
        params = []
        for p in group["params"]:
            renamed[id(p)] = parameters[names[id(p)]] if id(p) in names else p
            params.append(renamed[id(p)])
        groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": params})
    carried = copy.copy(optimizer)
    # A scheduler leaves a `step` on the instance that is bound to the old optimizer.
    carried.__dict__ = {k: v for k, v in vars(optimizer).items() if k != "step"}
    carried.param_groups = groups
    carried.state = type(optimizer.state)(optimizer.state.default_factory)
    for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        setattr(carried, hooks, type(getattr(optimizer, hooks))())
    for p, state in optimizer.state.items():
        target = renamed[id(p)]
        name = names.get(id(p), "")
        carried.state[target] = {
            key: _carry(value, p, name, key, reshape) for key, value in state.items()
        }
    return carried


def _carry(value: Any, p: Tensor, name: str, key: str, reshape: Reshape) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    if value.shape == p.shape:
        return reshape(name, value).clone() if name else value.clone()
    if value.numel() == 1:
        return value.clone()
    raise ConfigError(
        f"the optimizer's '{key}' for {name} has shape {tuple(value.shape)}, neither the "
        f"parameter's {tuple(p.shape)} nor a scalar's; it can't be carried over a cut. "
        "Make a new optimizer for the compacted network."
    )


def carry_scheduler(scheduler: LRScheduler, optimizer: Optimizer) -> LRScheduler:
    """The same schedule at the same place, driving another optimizer."""
    carried = copy.copy(scheduler)
    carried.__dict__ = {**scheduler.__dict__}
    carried.optimizer = optimizer
    if hasattr(scheduler, "_step_count"):
        # Only read by the warning about a scheduler that steps before its optimizer.
        carried._step_count = max(scheduler._step_count, 2)
    for name in ("base_lrs", "_last_lr", "_milestones"):
        if isinstance(getattr(carried, name, None), list):
            setattr(carried, name, list(getattr(carried, name)))
    inner = getattr(scheduler, "_schedulers", None)
    if inner is not None:
        carried._schedulers = [carry_scheduler(s, optimizer) for s in inner]  # type: ignore[attr-defined]
    return carried


def check_average(average: AveragedModel, model: nn.Module) -> None:
    """Refuse a moving average that was made before the gates were put in.

    PyTorch pairs the buffers of an average and its network by their order alone, so that the gates'
    masks would have been copied over the statistics of norms.

    Raises:
        ConfigError: its buffers have other names than the network's.
    """
    theirs = {name for name, _ in average.module.named_buffers()}
    if theirs != {name for name, _ in model.named_buffers()}:
        raise ConfigError(
            "average: its buffers are not those of the network with its gates, and PyTorch pairs "
            "them by order alone. Make the AveragedModel after the pruner."
        )


def carry_average(average: AveragedModel, small: nn.Module) -> nn.Module:
    """A moving average around a compacted network."""
    carried = AveragedModel(small)
    carried.module = small
    for name in ("avg_fn", "multi_avg_fn", "use_buffers"):
        if hasattr(average, name):
            setattr(carried, name, getattr(average, name))
    if isinstance(average.n_averaged, Tensor) and isinstance(carried.n_averaged, Tensor):
        carried.n_averaged.copy_(average.n_averaged)
    return carried
