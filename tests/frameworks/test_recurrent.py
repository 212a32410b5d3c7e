"""Other frameworks' recurrent layers, read as networks, fire as they do there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from scipy import sparse
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from microglia.errors import ConfigError
from microglia.frameworks import (
    RecurrentNetwork,
    recurrent_network,
    register_recurrent,
)
from microglia.simulation import simulate

T, N, K = 100, 12, 5


def lif(**changes: Any) -> nn.Module:
    return neuron.LIFNode(**({"tau": 3.0, "step_mode": "s"} | changes))


def plif() -> nn.Module:
    return neuron.ParametricLIFNode(init_tau=2.5, step_mode="s")


def alone(cell: Callable[[], nn.Module]) -> nn.Module:
    return layer.LinearRecurrentContainer(cell(), N, N)


def behind_a_layer(cell: Callable[[], nn.Module]) -> nn.Module:
    return layer.LinearRecurrentContainer(nn.Sequential(nn.Linear(K, N), cell()), K, N, bias=False)


def of_elements(cell: Callable[[], nn.Module]) -> nn.Module:
    return layer.ElementWiseRecurrentContainer(cell(), lambda y, x: x - 0.5 * y + 0.1)


def elements_behind_a_layer(cell: Callable[[], nn.Module]) -> nn.Module:
    inside = nn.Sequential(nn.Linear(N, N), cell())
    return layer.ElementWiseRecurrentContainer(inside, torch.add)


CONTAINERS = [alone, behind_a_layer, of_elements, elements_behind_a_layer]
CELLS = {
    "decay_input": lif,
    "no_decay_input": lambda: lif(decay_input=False),
    "soft": lambda: lif(v_reset=None),
    "v_reset": lambda: lif(v_reset=-0.4, v_threshold=0.8),
    "v_reset_no_decay_input": lambda: lif(v_reset=0.3, decay_input=False),
    "plif": plif,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_spikingjelly_containers_fire_the_same(
    container: Callable[..., nn.Module], cell: str, seed: int
) -> None:
    torch.manual_seed(seed)
    module = container(CELLS[cell]).double()
    for weight in module.parameters():
        if weight.dim() == 2:
            nn.init.normal_(weight, std=2.0 / weight.shape[1] ** 0.5)
    width = K if container is behind_a_layer else N
    x = torch.randn(T, 2, width, dtype=torch.float64) * 2 + 0.7
    with torch.no_grad():
        spikes = torch.stack([module(step) for step in x])
    net = recurrent_network(module)
    functional.reset_net(module)
    assert spikes.sum() > 100
    np.testing.assert_array_equal(simulate(net, x.numpy()).raster(), spikes.bool().numpy())


def rleaky(module: Any, x: Tensor) -> Tensor:
    spikes, mem = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    out = []
    for step in x:
        spikes, mem = module(step, spikes.double(), mem)
        out.append(spikes)
    return torch.stack(out)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("everyone", [True, False])
def test_rleaky_fires_the_same(late: bool, reset: str, everyone: bool) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        module = snn.RLeaky(
            beta=torch.rand(N) * 0.5 + 0.4,
            threshold=torch.rand(N) * 0.5 + 2.0,
            reset_mechanism=reset,
            reset_delay=late,
            V=torch.randn(N),
            all_to_all=everyone,
            linear_features=N if everyone else None,
        ).double()
        x = torch.randn(T, 2, N, dtype=torch.float64) * 0.7 + 0.4
        with torch.no_grad():
            spikes = rleaky(module, x)
        assert spikes.sum() > 60
        net = recurrent_network(module)
        np.testing.assert_array_equal(simulate(net, x.numpy()).raster(), spikes.bool().numpy())


def rsynaptic(reset: str, seed: int) -> tuple[snn.RSynaptic, Tensor, Tensor]:
    """A layer, its input, and its spikes."""
    torch.manual_seed(seed)
    module = snn.RSynaptic(
        alpha=torch.rand(N) * 0.3 + 0.4,
        beta=torch.rand(N) * 0.3 + 0.6,
        threshold=2.0,
        linear_features=N,
        reset_mechanism=reset,
    ).double()
    nn.init.zeros_(module.recurrent.bias)
    x = torch.randn(T, 2, N, dtype=torch.float64) * 0.5 + 0.2
    spikes, syn, mem = (torch.zeros_like(x[0]) for _ in range(3))
    out = []
    with torch.no_grad():
        for step in x:
            spikes, syn, mem = module(step, spikes.double(), syn, mem)
            out.append(spikes)
    return module, x, torch.stack(out)


def filtered(x: Tensor, alpha: Tensor) -> np.ndarray:
    current, currents = torch.zeros_like(x[0]), []
    for step in x:
        current = alpha * current + step
        currents.append(current)
    return torch.stack(currents).numpy()


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_rsynaptic_on_filtered_input(reset: str) -> None:
    """Exact where it resets to zero; "subtract" is off by (1 − β) θ a spike, as documented."""
    for seed in range(3):
        module, x, spikes = rsynaptic(reset, seed)
        net = recurrent_network(module)
        found = simulate(net, filtered(x, module.alpha.double())).raster()
        wanted = spikes.bool().numpy()
        assert wanted.sum() > 100
        if reset == "zero":
            np.testing.assert_array_equal(found, wanted)
        else:
            assert abs(found.sum() / wanted.sum() - 1) < 0.5


def test_a_bias_behind_synapses_is_the_one_they_settle_at() -> None:
    module, _, _ = rsynaptic("zero", 0)
    nn.init.normal_(module.recurrent.bias)
    net = recurrent_network(module)
    syn = module.recurrent.bias.detach() / (1 - module.alpha)
    np.testing.assert_allclose(net.bias * (1 - np.exp(-net.dt / net.tau_m)), syn.numpy())


def test_time_constants_follow_the_step() -> None:
    module = alone(lif)
    slow, fast = recurrent_network(module, 1e-3), recurrent_network(module, 1e-4)
    np.testing.assert_allclose(slow.tau_m, -1e-3 / np.log(1 - 1 / 3))
    np.testing.assert_allclose(slow.tau_m, 10 * fast.tau_m)


def test_the_only_recurrent_layer_inside_a_network_is_found() -> None:
    module = snn.RLeaky(beta=0.9, linear_features=N)
    whole = nn.Sequential(nn.Linear(K, N), module)
    found = recurrent_network(whole)
    np.testing.assert_array_equal(
        found.weights.toarray(), recurrent_network(module).weights.toarray()
    )
    with pytest.raises(ConfigError, match=r"several recurrent layers.*: 0, 1"):
        recurrent_network(nn.Sequential(module, snn.RLeaky(beta=0.9, linear_features=N)))


class Own(nn.Module):
    """A user's recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(N, N))


def test_a_users_class_is_read_once_it_is_registered() -> None:
    with pytest.raises(ConfigError, match="register_recurrent"):
        recurrent_network(Own())

    def read(module: Own, dt: float) -> RecurrentNetwork:
        W = sparse.csr_array(module.W.detach().double().numpy())
        return RecurrentNetwork(weights=W, tau_m=np.full(N, 20 * dt), tau_s=None, dt=dt)

    register_recurrent(Own, read)
    module = Own()
    net = recurrent_network(nn.Sequential(module), dt=2e-3)
    np.testing.assert_array_equal(net.weights.toarray(), module.W.detach().double().numpy())
    assert net.tau_m[0] == 0.04
    with pytest.raises(ConfigError, match="subclass of"):
        register_recurrent(read, read)  # type: ignore[arg-type]


REFUSED = {
    "no recurrence": (lambda: nn.Sequential(nn.Linear(3, 3), snn.Leaky(beta=0.9)), "no recurrent"),
    "no leak": (lambda: alone(neuron.IFNode), "leaks"),
    "v_reset": (lambda: alone(lambda: lif(v_reset=2.0)), "threshold"),
    "layers": (lambda: alone(lambda: nn.Sequential(lif(), lif())), "linear layer and neurons"),
    "size": (
        lambda: layer.LinearRecurrentContainer(nn.Sequential(nn.Linear(K, N + 1), lif()), K, N),
        "as many as come back",
    ),
    "not called": (lambda: of_elements(lif), "call it once"),
    "no reset": (lambda: snn.RLeaky(0.9, linear_features=N, reset_mechanism="none"), "reset_mech"),
    "beta 1": (lambda: snn.RLeaky(1.0, linear_features=N), "beta"),
    "alpha 0": (lambda: snn.RSynaptic(0.0, 0.9, linear_features=N), "alpha"),
    "late": (lambda: snn.RSynaptic(0.5, 0.9, linear_features=N, reset_delay=False), "reset_delay"),
    "conv": (lambda: snn.RLeaky(0.9, conv2d_channels=3, kernel_size=3), "convolution"),
    "one V": (lambda: snn.RLeaky(0.9, V=0.5, all_to_all=False), r"give V \[N\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_expressed_is_refused(case: str) -> None:
    build, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        recurrent_network(build())


def test_a_function_that_is_not_linear_is_refused() -> None:
    module = layer.ElementWiseRecurrentContainer(lif(), lambda y, x: x * (1 - y))
    module(torch.zeros(2, N))
    with pytest.raises(ConfigError, match="linear"):
        recurrent_network(module)
