"""How much would a closed channel help if it were open?"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from microglia.frameworks import Hook, first_tensor
from microglia.methods.parts.part import Part
from microglia.methods.parts.scores import norm_scales, on_device
from microglia.structure import Site, Structure


class GradientSignal(Part):
    """The gradient that each channel's norm scale gets through its gate, averaged over steps.

        g_c = | mean over steps of  sum_{n,t,h,w} dL/dy_c * x̂_c |      y = gamma x̂ + beta

    which is `gamma.grad`: the gate passes the gradient straight through, so a closed channel has
    it too (SCA, ICML 2024, section 4.3). Where there is no norm with a scale, |sum dL/dy * y| of
    the current itself, taken during the backward pass: a GradScaler's scale is in it, so that
    steps count by the scale they were taken at (bfloat16 needs none). A group with several norms
    (a residual stream) gets the mean over them.
    """

    def __init__(self, model: nn.Module, structure: Structure, *, samples: int | None) -> None:
        self.structure = structure
        self.steps = 0
        self._handles: list[Any] = []
        self._scales: list[tuple[str, int, nn.Parameter, Tensor]] = []
        self._places: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}
        self.sums: dict[str, Tensor] = {}
        self.pending: dict[str, Tensor] = {}
        """Of the backward passes since the last step."""
        for group in structure.groups:
            row = 0
            for name, channel in norm_scales(model, group):
                scale = model.get_parameter(name)
                if scale.requires_grad:
                    self._scales.append((group.name, row, scale, channel))
                    row += 1
            if row == 0:
                for site in group.gates:
                    watch = _Product(self, group.name, row, site, samples)
                    module = model.get_submodule(site.module)
                    self._handles.append(
                        module.register_forward_pre_hook(_In(watch), prepend=True)
                        if site.side == "input"
                        else module.register_forward_hook(_Out(watch), prepend=True)
                    )
                    row += 1
                self.pending[group.name] = torch.zeros(row, group.size)
            self.sums[group.name] = torch.zeros(row, group.size)

    def collect(self) -> None:
        """Add the gradients of the step that was just taken, before anyone clears them."""
        self.steps += 1
        for group, row, scale, channel in self._scales:
            if scale.grad is not None:
                grad = scale.grad.detach().float()
                sums = on_device(self.sums, group, grad.device)
                mine, to = self._place(channel, grad.device)
                sums[row].index_add_(0, to, grad[mine])
        for group, seen in self.pending.items():
            sums = on_device(self.sums, group, seen.device)
            sums += seen
            seen.zero_()

    def skip(self) -> None:
        """Forget backward passes that overflowed; others may be of batches that accumulate."""
        for seen in self.pending.values():
            seen.masked_fill_(~seen.isfinite().all(), 0.0)

    def _place(self, channel: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Positions of a scale that are a group's, and their channels, on the device."""
        known = self._places.get((id(channel), device))
        if known is None:
            mine = (channel >= 0).nonzero().flatten()
            known = (mine.to(device), channel[mine].to(device))
            self._places[id(channel), device] = known
        return known

    def mean(self) -> dict[str, Tensor]:
        """|mean gradient| of each channel of each group, `[size]`."""
        signal = {}
        for name, sums in self.sums.items():
            total = sums.clone()
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(total)
            signal[name] = (total / max(self.steps, 1)).abs().mean(0).cpu()
        return signal

    def clear(self) -> None:
        """Start afresh."""
        self.steps = 0
        for tensor in (*self.sums.values(), *self.pending.values()):
            tensor.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {
            "steps": self.steps,
            "sums": {k: v.clone() for k, v in self.sums.items()},
            "pending": {k: v.clone() for k, v in self.pending.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the sums of `state_dict`."""
        self.steps = state["steps"]
        for mine, theirs in ((self.sums, state["sums"]), (self.pending, state["pending"])):
            for name in mine:
                mine[name] = theirs[name].clone()


class _Product:
    """Adds sum dL/dy * y of one current to what is pending of one group."""

    def __init__(
        self, signal: GradientSignal, group: str, row: int, site: Site, samples: int | None
    ) -> None:
        self.signal, self.group, self.row, self.site = signal, group, row, site
        self.samples = samples
        self.mine = (site.channel >= 0).nonzero().flatten()
        self.channel = site.channel[self.mine]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Product:
        copy = _Product.__new__(_Product)  # a copy of the network must not add to our sums
        memo[id(self)] = copy
        copy.signal = None  # type: ignore[assignment]
        return copy

    def see(self, y: Tensor) -> None:
        if self.signal is None or not (y.requires_grad and torch.is_grad_enabled()):
            return
        current = y.detach().clone()  # the gate is about to write into it

        def add(grad: Tensor) -> None:
            axis = grad.dim() + self.site.dim
            others = [d for d in range(grad.dim()) if d != axis]
            total = (grad * current).sum(others, dtype=torch.float32)
            pending = on_device(self.signal.pending, self.group, total.device)
            mine, channel = self.mine.to(total.device), self.channel.to(total.device)
            pending[self.row].index_add_(0, channel, total[mine])

        y.register_hook(add)


class _In(Hook):
    def __init__(self, watch: _Product) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any) -> None:
        self.watch.see(first_tensor(args))


class _Out(Hook):
    def __init__(self, watch: _Product) -> None:
        self.watch = watch

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.watch.see(first_tensor(output))
