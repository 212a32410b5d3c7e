"""Laws of the LSNN: its equations, its reset, and what pruning leaves of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron as nodes
from torch import Tensor
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.errors import ConfigError
from microglia.methods import METHODS
from microglia.networks.lsnn import LSNN, Damped

T, N, INPUTS, CLASSES = 40, 6, 3, 4
SMALL: dict[str, Any] = {"neurons": 20, "tau": 5.0, "tau_a": 10.0, "beta": 3.0}


def make(*, seed: int = 0, **settings: Any) -> tuple[LSNN, Tensor]:
    torch.manual_seed(seed)
    network = LSNN(inputs=INPUTS, classes=CLASSES, **{**SMALL, **settings}).double()
    torch.nn.init.uniform_(network.cell.input.bias, 0.0, 0.5)
    return network, torch.randn(T, N, INPUTS, dtype=torch.float64) * 0.5


def spikes_of(network: LSNN, x: Tensor) -> Tensor:
    mg.reset(network)
    spikes: Tensor = network.cell(x)
    return spikes.detach()


def by_hand(network: LSNN, x: Tensor, *, tau: float, tau_a: float, beta: Tensor) -> Tensor:
    """The spikes of the equations, a neuron's sum at a time."""
    cell = network.cell
    v, a, s = torch.zeros(3, N, len(beta), dtype=torch.float64)
    spikes = []
    for x_t in x:
        into = x_t @ cell.input.weight.T + cell.input.bias + s @ cell.recurrent.weight.T
        h = (1 - 1 / tau) * v + into
        theta = 1 + beta * a
        s = (h >= theta).double()
        v = h - theta * s
        a = (1 - 1 / tau_a) * a + s / tau_a
        spikes.append(s)
    return torch.stack(spikes).detach()


@pytest.mark.parametrize("adaptive", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_spikes_follow_the_equations(adaptive: float, seed: int) -> None:
    network, x = make(seed=seed, adaptive=adaptive)
    beta = torch.tensor([0.0] * (20 - round(20 * adaptive)) + [3.0] * round(20 * adaptive))
    spikes = spikes_of(network, x)
    assert torch.equal(spikes, by_hand(network, x, tau=5.0, tau_a=10.0, beta=beta))
    assert 0.05 < spikes.mean() < 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_adaptation_it_is_a_recurrent_layer_of_lif_neurons(seed: int) -> None:
    network, x = make(seed=seed, beta=0.0)
    lif = nodes.LIFNode(tau=5.0, v_reset=None, decay_input=False)
    s, spikes = torch.zeros(N, 20, dtype=torch.float64), []
    for x_t in x:
        s = lif(network.cell.input(x_t) + network.cell.recurrent(s))
        spikes.append(s)
    assert torch.equal(spikes_of(network, x), torch.stack(spikes))
    adaptive, _ = make(seed=seed)
    assert spikes_of(adaptive, x)[..., 10:].mean() < 0.8 * torch.stack(spikes)[..., 10:].mean()


def test_read_outs_by_hand() -> None:
    network, x = make()
    o = network.readout(spikes_of(network, x))
    y = torch.zeros_like(o[0])
    for o_t in o:
        y = y + (o_t - y) / 5.0
    mg.reset(network)
    assert torch.allclose(network(x), y, atol=1e-12)
    for last, mean in ((None, o.mean(0)), (7, o[-7:].mean(0))):
        other, _ = make(readout="mean", last=last)
        other.load_state_dict(network.state_dict())
        assert torch.allclose(other(x), mean, atol=1e-12)
    mg.reset(other)
    with pytest.raises(ConfigError, match="7 steps asked for, the sequence has 6"):
        other(x[:6])


def test_a_sequence_may_come_in_parts_and_a_reset_ends_it() -> None:
    network, x = make()
    whole = spikes_of(network, x)
    mg.reset(network)
    parts = torch.cat([network.cell(x[:13]), network.cell(x[13:])])
    assert torch.equal(parts, whole)
    assert not torch.equal(network.cell(x), whole), "the state went on"
    assert torch.equal(spikes_of(network, x[:, :2]), whole[:, :2])


def test_the_slope_is_the_damped_triangle() -> None:
    x = torch.linspace(-2, 2, 81, dtype=torch.float64).requires_grad_()
    spikes = Damped(0.3)(x)
    spikes.sum().backward()
    assert torch.equal(spikes, (x >= 0).double())
    assert torch.allclose(x.grad, 0.3 * (1 - x.detach().abs()).clamp(min=0))


def test_gradient_reaches_every_parameter() -> None:
    network, x = make()
    cross_entropy(network(x), torch.arange(N) % CLASSES).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def trained(network: LSNN, x: Tensor, pruner: Any, optimizer: Any, *, steps: int) -> list[int]:
    """Train, and say how many connections there were after each step."""
    counts = []
    for _ in range(steps):
        mg.reset(network)
        loss = cross_entropy(network(x), torch.arange(N) % CLASSES) + pruner.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruner.step()
        counts.append(sum(int((w != 0).sum()) for w in pruner.masks.weights.values()))
    return counts


@pytest.mark.parametrize(("scope", "temperature"), [("layer", 0.0), ("global", 1e-4)])
def test_deep_r_keeps_its_count_of_connections(scope: str, temperature: float) -> None:
    network, x = make()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    pruner = mg.DeepR(
        network,
        sparsity=0.88,
        scope=scope,
        temperature=temperature,
        strength=0.5,
        example_input=x[:5],
        optimizer=optimizer,
        every=1,
    )
    total = 20 * (INPUTS + 20 + CLASSES)
    before = pruner.masks.keep()
    assert trained(network, x, pruner, optimizer, steps=12) == [round(0.12 * total)] * 12
    after = pruner.masks.keep()
    assert any(not torch.equal(before[name], after[name]) for name in before), "nothing moved"


def logits(network: Any, x: Tensor) -> Tensor:
    mg.reset(network)
    found: Tensor = network.eval()(x).detach()
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neurons_that_nobody_reads_are_taken_out(seed: int) -> None:
    network, x = make(seed=seed, neurons=40)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    pruner = mg.DeepR(
        network, sparsity=0.97, example_input=x[:5], optimizer=optimizer, every=1, seed=seed
    )
    trained(network, x, pruner, optimizer, steps=4)
    small = pruner.compact()
    assert small.certificate is not None
    kept = small.ledger.ids()["cell.input"]
    assert small.model.cell.recurrent.weight.shape == (len(kept), len(kept))
    assert len(kept) < 40
    assert torch.equal(spikes_of(small.model, x), spikes_of(network, x)[..., kept])
    assert torch.allclose(logits(small.model, x), logits(network, x), atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("method", ["random", "activity"])
def test_neurons_are_pruned_as_channels_are(method: str, seed: int) -> None:
    network, x = make(seed=seed)
    pruner = METHODS[method](network, sparsity=0.5, linear=True, example_input=x[:5], seed=seed)
    if METHODS[method].needs == "trained":
        pruner.calibrate([x])
    whole = network.cell.neuron.beta.tolist()
    masked = logits(network, x)
    small = pruner.compact()
    assert small.certificate is not None
    assert small.certificate.output_difference <= 1e-10
    kept = next(iter(pruner.masks.keep().values()))
    assert small.model.cell.neuron.beta.tolist() == [
        b for b, k in zip(whole, kept, strict=True) if k
    ]
    assert torch.allclose(logits(small.model, x), masked, atol=1e-10)
    assert masked.std() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neurons": 0}, "neurons: wanted at least 1"),
        ({"adaptive": 1.1}, "adaptive: wanted a share"),
        ({"beta": -1.0}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"tau_a": 0.5}, "tau_a: wanted at least 1 timestep"),
        ({"tau": 1.0}, "tau: wanted above 1"),
        ({"dampening": 0.0}, "dampening"),
        ({"readout": "meen"}, "Did you mean 'mean'"),
        ({"last": 3}, "of readout='mean'"),
        ({"readout": "mean", "last": 0}, "last: wanted at least 1"),
    ],
)
def test_refuses_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)
