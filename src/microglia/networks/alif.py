"""The leaky integrate-and-fire neuron whose threshold rises with each spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import base
from torch import Tensor

from microglia.frameworks import register_neuron


class ALIFNode(base.MemoryModule):  # type: ignore[misc]  # SpikingJelly is untyped
    """Adaptive LIF: X to spikes, multi-step [T, N, ...].

        H_t = V_{t-1} + (X_t − V_{t-1}) / τ
        θ_t = 1 + β · a_{t-1},   S_t = 1[H_t ≥ θ_t]
        a_t = a_{t-1} + (S_t − a_{t-1}) / τ_a
        V_t = H_t · (1 − S_t), or H_t − θ_t · S_t with soft reset

    Times are in timesteps; `h` and `theta` hold H and θ of the last call. β is one number, or a
    tensor with one for each neuron, which is a buffer then and cut with them.
    Source: Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking
    neurons", NeurIPS 2018 (with τ_a = −1 / ln ρ to first order).
    """

    v: Any
    a: Any

    def __init__(
        self,
        *,
        tau: float,
        surrogate_function: Callable[[Tensor], Tensor],
        soft_reset: bool = False,
        detach_reset: bool = True,
        beta: float | Tensor = 0.2,
        tau_a: float = 4.0,
    ) -> None:
        super().__init__()
        self.tau, self.tau_a = tau, tau_a
        self.beta: Any
        if isinstance(beta, Tensor):
            self.register_buffer("beta", beta)
        else:
            self.beta = beta
        self.soft_reset, self.detach_reset = soft_reset, detach_reset
        self.surrogate_function = surrogate_function
        self.h: Tensor | None = None
        self.theta: Any = 1.0
        self.register_memory("v", 0.0)
        self.register_memory("a", 0.0)
        self.step_mode = "m"

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.multi_step_forward(x.unsqueeze(0)).squeeze(0)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        potentials, thresholds, spikes = [], [], []
        v, a = self.v, self.a
        for x in x_seq:
            h = v + (x - v) / self.tau
            theta = 1.0 + self.beta * a + torch.zeros_like(h)
            s = self.surrogate_function(h - theta)
            a = a + (s - a) / self.tau_a
            fired = s.detach() if self.detach_reset else s
            v = h - theta * fired if self.soft_reset else h * (1 - fired)
            potentials.append(h)
            thresholds.append(theta)
            spikes.append(s)
        self.v, self.a = v, a
        self.h, self.theta = torch.stack(potentials).detach(), torch.stack(thresholds).detach()
        return torch.stack(spikes)

    def reset(self) -> None:
        super().reset()
        self.h, self.theta = None, 1.0


register_neuron(
    ALIFNode,
    membrane="h",
    threshold="theta",
    multi_step=True,
    decay=lambda module: 1.0 - 1.0 / float(module.tau),  # type: ignore[arg-type]
)
