"""LSNN: one layer of recurrent neurons, some of which adapt, for sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from microglia.errors import ConfigError, nearest
from microglia.networks.alif import ALIFNode

READOUTS = ("leaky", "mean")


class DampedStep(torch.autograd.Function):
    """1[x ≥ 0], whose slope is taken for γ · max(0, 1 − |x|)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dampening: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dampening = dampening
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * (1.0 - x.abs()).clamp_(min=0.0).mul_(ctx.dampening), None


@dataclass(frozen=True)
class Damped:
    """The surrogate of LSNNs, see `DampedStep`."""

    dampening: float

    def __call__(self, x: Tensor) -> Tensor:
        spikes: Tensor = DampedStep.apply(x, self.dampening)
        return spikes


class RecurrentALIF(base.MemoryModule):  # type: ignore[misc]  # SpikingJelly is untyped
    """Neurons that read their own spikes of the step before: [T, N, K] to spikes [T, N, neurons].

        X_t = τ · (W_in x_t + b + W_rec S_{t-1})

    goes into a neuron as in `ALIFNode`, whose 1/τ makes a weight what one spike adds to the
    potential, in units of the threshold at rest. S is kept until `reset`, so that a sequence may
    come in parts.
    """

    s: Any

    def __init__(self, inputs: int, neuron: ALIFNode) -> None:
        super().__init__()
        neurons = len(neuron.beta)
        self.input = nn.Linear(inputs, neurons)
        self.recurrent = nn.Linear(neurons, neurons, bias=False)
        self.neuron = neuron
        self.register_memory("s", None)
        nn.init.normal_(self.input.weight, 0.0, inputs**-0.5)
        nn.init.zeros_(self.input.bias)
        nn.init.normal_(self.recurrent.weight, 0.0, neurons**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        spikes = []
        s = self.s
        for current in self.input(x):
            if s is not None:
                current = current + self.recurrent(s)
            s = self.neuron((self.neuron.tau * current).unsqueeze(0)).squeeze(0)
            spikes.append(s)
        self.s = s
        return torch.stack(spikes)


class LSNN(nn.Module):
    """Recurrent LIF neurons, a share of them with adaptive thresholds, and a linear read-out.

    Of the neurons (`RecurrentALIF`, soft reset) the first are LIF, β = 0, and the last
    ``adaptive`` · ``neurons`` of them adapt. The read-out's values o_t = W_out S_t + b become
    logits at the end,

        leaky:  y_T  with  y_t = y_{t-1} + (o_t − y_{t-1}) / τ,  y_0 = 0
        mean:   the mean of the last so many o_t

    Input, recurrent and read-out weights are dense parameters, to be masked by any method
    (`mg.DeepR` as in the paper); neurons that nobody reads can be taken out.

    Takes sequences [T, N, inputs]; returns logits [N, classes].

    Args:
        adaptive: the share of neurons that adapt, in [0, 1].
        beta: β, how far the threshold rises for a neuron that fires at every step, where it is 1 at
            rest. The paper's code has 1.8 at a rest of 0.01, which is 180 here.
        tau_a: time constant of the threshold in timesteps; about the length of what is to be
            remembered.
        tau: time constant of the neurons and of the leaky read-out in timesteps.
        last: steps that the read-out "mean" averages; None for all.
        dampening: γ of the surrogate's slope γ · max(0, 1 − |H − θ|); at 1 gradients may grow from
            step to step.

    Raises:
        ConfigError: a setting out of range, or a sequence shorter than ``last``.

    Source: Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking
    neurons", NeurIPS 2018. Without refractory time, longer delays and neurons that only
    excite or inhibit; neurons may read themselves; first weights are N(0, 1 / fan-in).
    """

    def __init__(
        self,
        *,
        inputs: int,
        classes: int,
        neurons: int = 128,
        adaptive: float = 0.5,
        beta: float = 16.0,
        tau_a: float = 64.0,
        tau: float = 20.0,
        readout: Literal["leaky", "mean"] = "leaky",
        last: int | None = None,
        dampening: float = 0.3,
    ) -> None:
        super().__init__()
        for name, count in (("inputs", inputs), ("classes", classes), ("neurons", neurons)):
            _check(name, count, count >= 1, "at least 1")
        _check("adaptive", adaptive, 0 <= adaptive <= 1, "a share in [0, 1]")
        _check("beta", beta, beta >= 0, "at least 0")
        _check("tau_a", tau_a, tau_a >= 1, "at least 1 timestep")
        _check("tau", tau, tau > 1, "above 1 timestep")
        _check("dampening", dampening, dampening > 0, "above 0")
        if readout not in READOUTS:
            raise ConfigError(f"readout: '{readout}' is unknown.{nearest(readout, list(READOUTS))}")
        if last is not None:
            _check("last", last, last >= 1 and readout == "mean", "at least 1, of readout='mean'")
        adapting = torch.arange(neurons) >= neurons - round(adaptive * neurons)
        neuron = ALIFNode(
            tau=tau,
            surrogate_function=Damped(dampening),
            soft_reset=True,
            beta=beta * adapting.to(torch.get_default_dtype()),
            tau_a=tau_a,
        )
        self.cell = RecurrentALIF(inputs, neuron)
        self.readout = nn.Linear(neurons, classes)
        self.reads, self.last = readout, last

    def forward(self, x: Tensor) -> Tensor:
        o: Tensor = self.readout(self.cell(x))
        if self.reads == "leaky":
            rate = 1.0 / self.cell.neuron.tau
            age = torch.arange(len(o) - 1, -1, -1, device=o.device)
            share = (rate * (1.0 - rate) ** age).to(o.dtype)
            return (share[:, None, None] * o).sum(0)
        if self.last is not None and len(o) < self.last:
            raise ConfigError(f"last: {self.last} steps asked for, the sequence has {len(o)}")
        return o[-(self.last or len(o)) :].mean(0)


def _check(name: str, value: float, valid: bool, wanted: str) -> None:
    if not valid or value == float("inf"):  # NaN fails every comparison
        raise ConfigError(f"{name}: wanted {wanted}, got {value}")
