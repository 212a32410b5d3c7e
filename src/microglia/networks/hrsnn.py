"""Heterogeneous recurrent spiking networks, trainable through time along their synapses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import base, surrogate
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import RecurrentNetwork
from microglia.networks.population import CHRSNNConfig, HRSNNConfig
from microglia.networks.synapses import Synapses


class HRSNN(base.MemoryModule):  # type: ignore[misc]  # SpikingJelly is untyped
    """LIF neurons that fire into each other, each with time constants of its own.

    Takes [T, N, K] and returns spikes [T, N, neurons]; with ``step_mode = "s"`` one step at a time.
    The equations are those of `RecurrentNetwork`, whose spikes `simulate` gives in float64. Nothing
    as large as a dense matrix is ever made. States last until they are reset (`mg.reset`).

    Parameters are the recurrent weights `recurrent.values` [E], those of the inputs
    `inputs.values`, and `bias` [neurons]; the pattern of synapses stays. Gradients pass through
    spikes by the surrogate and not through the reset; a refractory neuron passes none. Nothing
    holds signs fixed in training.

    Args:
        config: what it is drawn from (None: the defaults), or the network itself.
        seed: of the draw, which asks no other generator.
        surrogate_function: the step, with a slope; arctan of width 1/2 if None.
        dtype: of the parameters; torch's default if None. Only float64 holds a network exactly.

    Source: Chakraborty & Mukhopadhyay, Frontiers in Neuroscience 2023.
    """

    v: Any
    i: Any
    s: Any
    held: Any
    tau_m: Tensor
    tau_s: Tensor | None
    threshold: Tensor
    inhibitory: Tensor | None

    def __init__(
        self,
        config: HRSNNConfig | RecurrentNetwork | None = None,
        *,
        seed: int = 0,
        surrogate_function: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        net = config
        if not isinstance(net, RecurrentNetwork):
            net = (net or HRSNNConfig()).draw(seed)
        if net.weights.nnz == 0:
            raise ConfigError("HRSNN: the network has no recurrent synapses; raise its wiring")
        self.recurrent = Synapses(net.weights, dtype=dtype)
        self.inputs = None if net.inputs is None else Synapses(net.inputs, dtype=dtype)
        self.bias = nn.Parameter(_tensor(net.bias, dtype))
        self.register_buffer("tau_m", _tensor(net.tau_m, dtype))
        self.register_buffer("tau_s", None if net.tau_s is None else _tensor(net.tau_s, dtype))
        self.register_buffer("threshold", _tensor(net.threshold, dtype))
        inhibits = net.inhibitory
        self.register_buffer(
            "inhibitory", None if inhibits is None else torch.as_tensor(inhibits).bool()
        )
        self.reset_mode, self.refractory, self.dt = net.reset, net.refractory, net.dt
        self.hold = net.refractory_steps
        self.surrogate_function = surrogate_function or surrogate.ATan(alpha=4.0)
        for name in ("v", "i", "s", "held"):
            self.register_memory(name, None)
        self.step_mode = "m"

    @classmethod
    def from_recurrent_network(cls, net: RecurrentNetwork, **settings: Any) -> HRSNN:
        """The module of a network: also of a part of one, ``net.of(neurons)``, or a sparser one."""
        return HRSNN(net, **settings)

    def recurrent_network(self) -> RecurrentNetwork:
        """The network in float64, a copy; `from_recurrent_network` makes the same module of it."""
        return RecurrentNetwork(
            weights=self.recurrent.matrix(),
            tau_m=_array(self.tau_m),
            tau_s=None if self.tau_s is None else _array(self.tau_s),
            inputs=None if self.inputs is None else self.inputs.matrix(),
            bias=_array(self.bias),
            threshold=_array(self.threshold),
            inhibitory=None if self.inhibitory is None else self.inhibitory.cpu().numpy().copy(),
            reset=self.reset_mode,
            refractory=self.refractory,
            dt=self.dt,
        )

    def single_step_forward(self, x: Tensor) -> Tensor:
        return self.multi_step_forward(x.unsqueeze(0)).squeeze(0)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        beta = torch.exp(-self.dt / self.tau_m)
        alpha = None if self.tau_s is None else torch.exp(-self.dt / self.tau_s)
        currents = self._currents(x_seq)
        v, i, s, held = self.v, self.i, self.s, self.held
        if v is None:
            v = i = s = torch.zeros_like(currents[0])
            held = torch.zeros_like(v, dtype=torch.long)
        elif v.shape != currents.shape[1:]:
            raise ConfigError(
                f"HRSNN: its state is that of {v.shape[0]} samples, got {currents.shape[1]}; reset "
                "it before another batch"
            )
        spikes = []
        for x in currents:
            arrived = self.recurrent(s)
            i = arrived if alpha is None else alpha * i + arrived
            h = beta * v + (1 - beta) * (i + x)
            free = held == 0
            if self.hold:
                h = torch.where(free, h, v)
            s = self.surrogate_function(h - self.threshold)
            if self.hold:
                s = s * free
                held = torch.where(s.detach() > 0, self.hold, held - (~free).long())
            fired = s.detach()
            v = h - self.threshold * fired if self.reset_mode == "subtract" else h * (1 - fired)
            spikes.append(s)
        self.v, self.i, self.s, self.held = v, i, s, held
        return torch.stack(spikes)

    def _currents(self, x_seq: Tensor) -> Tensor:
        """b + W_in u [T, N, neurons]."""
        K = 0 if self.inputs is None else self.inputs.shape[1]
        if x_seq.dim() != 3 or x_seq.shape[-1] != K:
            raise ConfigError(f"HRSNN: wanted [T, N, {K}], got {list(x_seq.shape)}")
        if self.inputs is None:
            return self.bias.expand(*x_seq.shape[:2], -1)
        currents: Tensor = self.inputs(x_seq) + self.bias
        return currents

    def extra_repr(self) -> str:
        return f"{len(self.bias)} neurons, refractory={self.refractory}, dt={self.dt}"


class CHRSNN(HRSNN):
    """Clusters of an `HRSNN`, each with its own distributions, randomly joined.

    ``cluster`` [neurons] says which one a neuron belongs to.

    Source: Chakraborty et al., ICLR 2024.
    """

    cluster: Tensor

    def __init__(self, config: CHRSNNConfig, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(config.draw(seed), **settings)
        self.register_buffer("cluster", torch.as_tensor(config.cluster))


def _tensor(value: NDArray[Any] | None, dtype: torch.dtype | None) -> Tensor:
    return torch.as_tensor(np.array(value)).to(dtype or torch.get_default_dtype())


def _array(value: Tensor) -> NDArray[Any]:
    return value.detach().double().cpu().numpy().copy()
