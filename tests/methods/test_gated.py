"""Hard concrete gates and UPR: gates beside the weights, their gradients, and what they end as."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_contract import Loop
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.methods import UPR, HardConcrete
from zoo import make, same

GATED = [HardConcrete, UPR]
WEAK = {HardConcrete: 1e-4, UPR: 1e-4}  # enough to close some weights in a few steps, not all
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1


def hard_concrete(phi: Tensor, u: Tensor) -> Tensor:
    """Louizos et al., 2018, equations 10 and 11."""
    s = torch.sigmoid((u.log() - (1 - u).log() + phi) / BETA)
    return torch.clamp(s * (ZETA - GAMMA) + GAMMA, 0, 1)


def present(phi: Tensor) -> Tensor:
    """P(z != 0), their equation 12."""
    return torch.sigmoid(phi - BETA * math.log(-GAMMA / ZETA))


@pytest.mark.parametrize("phi", [-4.0, -2.0, 0.0, 1.5, 4.0])
def test_gates_are_there_as_often_as_their_formula_says(phi: float) -> None:
    pruner = Loop(HardConcrete, "chain", sparsity=0.5).pruner
    gate = torch.full((40_000,), phi)
    z = pruner._gate(gate)
    p = float(present(gate[0]))
    spread = math.sqrt(p * (1 - p) / z.numel())
    assert float((z != 0).float().mean()) == pytest.approx(p, abs=5 * spread + 1e-4)
    assert z.min() >= 0
    assert z.max() <= 1
    last = min(1.0, max(0.0, 1.2 / (1 + math.exp(-phi)) - 0.1))
    assert float(pruner._last(gate)[0]) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("cls", GATED)
@pytest.mark.parametrize("network", ["chain", "snnTorch"])
def test_gradients_are_those_of_the_graph_with_gates_in_it(cls: Any, network: str) -> None:
    loop = Loop(cls, network, until=100, every=50, strength=0.02)
    loop.run(4)
    pruner, generator = loop.pruner, torch.Generator()
    generator.set_state(pruner.generator.get_state())
    loop.run(1)  # this step drew the gates that the next one sees
    hidden = {n: t.clone().requires_grad_() for n, t in pruner._theta.tensors.items()}
    phi = {n: g.detach().clone().requires_grad_() for n, g in pruner._gates.items()}
    shown, penalty = {}, torch.zeros(())
    places = {n: float(pruner._price(n, "macs", {})[0]) for n in hidden}
    mean = sum(places[n] * w.numel() for n, w in hidden.items()) / sum(pruner.sizes().values())
    for name, w in hidden.items():
        if cls is HardConcrete:
            z = hard_concrete(phi[name], torch.rand(w.shape, generator=generator))
            penalty = penalty + present(phi[name]).sum()
        else:
            z = torch.sigmoid(5 * 200 ** (5 / 100) * phi[name])
            penalty = penalty + places[name] / mean * z.sum()
        shown[name] = w * z
        assert torch.allclose(shown[name], pruner.masks.weights[name], atol=1e-6)
    torch.manual_seed(5)  # of dropout
    mg.reset(loop.model)
    out = functional_call(loop.model, shown, (loop.x,))
    out = out[1].mean(0) if isinstance(out, tuple) else out
    (cross_entropy(out, loop.y) + 0.02 * penalty).backward()

    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def look(*_: Any) -> None:
        for name, weight in pruner.masks.weights.items():
            seen[name] = weight.grad.clone(), pruner._gates[name].grad.clone()

    loop.optimizer.register_step_pre_hook(look)
    torch.manual_seed(5)
    loop.run(1)
    for name, (of_weight, of_gate) in seen.items():
        assert torch.allclose(of_weight, hidden[name].grad, rtol=1e-3, atol=1e-6)
        assert torch.allclose(of_gate, phi[name].grad, rtol=1e-3, atol=1e-6)
        assert of_gate.any()


@pytest.mark.parametrize("cls", GATED)
def test_sparsity_rises_with_strength(cls: Any) -> None:
    reached = []
    for strength in (0.0, 1e-3, 1e-2, 1e-1):
        loop = Loop(cls, "chain", until=40, every=10, strength=strength, seed=1)
        loop.run(40)
        reached.append(loop.pruner.sparsity_reached)
    assert reached == sorted(reached)
    assert reached[-1] > reached[0] + 0.3


def test_the_temperature_rises_exponentially() -> None:
    loop = Loop(UPR, "chain", sparsity=0.5, until=14, warmup=4, every=2)
    betas = []
    for _ in range(14):
        betas.append(loop.pruner.beta)
        loop.run(1)
    betas.append(loop.pruner.beta)
    assert betas[:5] == [5.0] * 5
    assert betas[-1] == pytest.approx(1000.0)
    factors = [b / a for a, b in pairwise(betas[4:])]
    assert factors == pytest.approx([200 ** (1 / 10)] * 10)


def test_weights_that_are_used_at_more_places_are_dearer() -> None:
    pruner = Loop(UPR, "chain", sparsity=0.5).pruner  # maps of 8x8, 4x4, and linear layers
    sizes, energy = pruner.sizes(), pruner._energy
    first = energy["body.10.weight"]
    ratios = {name: e / first for name, e in energy.items()}
    assert ratios == pytest.approx(
        {"body.0.weight": 64, "body.4.weight": 16, "body.10.weight": 1, "body.12.weight": 1}
    )
    assert sum(energy[n] * k for n, k in sizes.items()) == pytest.approx(sum(sizes.values()))


def plain(cls: Any, gate: Tensor) -> Tensor:
    """What the gates are at the end: UPR's 0 or 1, hard concrete ones as they are without noise."""
    z = (torch.sigmoid(gate) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    return z if cls is HardConcrete else (gate > 0).float()


@pytest.mark.parametrize("cls", GATED)
def test_gates_are_plain_numbers_at_the_end(cls: Any) -> None:
    loop = Loop(cls, "chain", until=20, every=5, strength=WEAK[cls])
    loop.run(20)
    pruner = loop.pruner
    assert pruner.reached is None  # there is no budget
    for name, weight in pruner.masks.weights.items():
        z = plain(cls, pruner._gates[name].detach())
        assert torch.allclose(weight, pruner._theta.tensors[name] * z, atol=1e-7)
        assert torch.equal(pruner.masks.mask(name), z > 0)
    assert 0 < pruner.sparsity_reached < 1
    gates = {n: g.detach().clone() for n, g in pruner._gates.items()}
    masks = pruner.masks.keep()
    assert loop.run(5) == []
    assert all(torch.equal(g, gates[n]) for n, g in pruner._gates.items())
    assert all(torch.equal(m, masks[n]) for n, m in pruner.masks.keep().items())


@pytest.mark.parametrize("cls", GATED)
def test_what_the_budget_has_room_for_comes_back_whole(cls: Any) -> None:
    loop = Loop(cls, "chain", sparsity=0.1, until=20, every=5, strength=0.1)
    loop.run(20)
    assert loop.pruner.reached > 0.2
    for name, weight in loop.pruner.masks.weights.items():
        assert torch.equal(weight != 0, loop.pruner.masks.mask(name))


@pytest.mark.parametrize("cls", GATED)
def test_gates_are_a_group_of_the_optimizer_without_decay(cls: Any) -> None:
    loop = Loop(cls, "chain", sparsity=0.5, rate=0.7)
    *_, group = loop.optimizer.param_groups
    assert len(loop.optimizer.param_groups) == 2
    assert (group["lr"], group["weight_decay"]) == (0.7, 0.0)
    schedule = torch.optim.lr_scheduler.StepLR(loop.optimizer, 1, gamma=0.5)
    loop.run(2)
    assert float(loop.pruner.penalty()) == 0.0
    assert all(gate.grad is None for gate in loop.pruner._gates.values())
    loop.pruner.detach()
    assert group["params"] == []
    assert not any(gate in loop.optimizer.state for gate in loop.pruner._gates.values())
    loop.optimizer.zero_grad()
    loop.logits(loop.model).sum().backward()
    loop.optimizer.step()
    schedule.step()


@pytest.mark.parametrize("cls", GATED)
def test_the_rate_lets_gates_travel_as_far_in_any_run(cls: Any) -> None:
    rates = []
    for until in (10, 1000):
        loop = Loop(cls, "chain", sparsity=0.5, until=until, every=1)
        rates.append(loop.optimizer.param_groups[-1]["lr"] * until)
    assert rates == pytest.approx([cls.travel] * 2)


@pytest.mark.parametrize("cls", GATED)
def test_holding_makes_the_gates_plain(cls: Any) -> None:
    loop = Loop(cls, "chain", sparsity=0.5, until=1000, every=50, strength=WEAK[cls])
    loop.run(10)
    loop.pruner.hold(torch.optim.SGD(loop.model.parameters(), lr=0.1))
    for name, weight in loop.pruner.masks.weights.items():
        z = plain(cls, loop.pruner._gates[name].detach())
        assert torch.allclose(weight, loop.pruner._theta.tensors[name] * z, atol=1e-7)


@pytest.mark.parametrize("cls", GATED)
@pytest.mark.parametrize("network", ["chain", "snnTorch"])
def test_what_is_compacted_or_detached_has_plain_gates(cls: Any, network: str) -> None:
    """And the network that is compacted goes on as if nothing had been."""
    loop, other = (
        Loop(cls, network, sparsity=0.5, until=1000, every=50, strength=WEAK[cls]) for _ in range(2)
    )
    for each in (loop, other):
        torch.manual_seed(0)  # of dropout
        each.run(10)
    pruner = loop.pruner
    before = copy.deepcopy((loop.model.state_dict(), pruner.state_dict()))
    small = pruner.compact()
    assert small.certificate is not None
    assert same((loop.model.state_dict(), pruner.state_dict()), before)
    hidden = {n: t.clone() for n, t in pruner._theta.tensors.items()}
    gates = {n: plain(cls, gate.detach()) for n, gate in pruner._gates.items()}
    for each in (loop, other):
        torch.manual_seed(1)
        each.run(3)
    assert same(loop.model.state_dict(), other.model.state_dict())

    fresh, _ = make(network, T=2)
    state = {n: v for n, v in before[0].items() if not n.endswith("_gate")}
    fresh.load_state_dict(state | {n: hidden[n] * z for n, z in gates.items()})
    assert torch.allclose(loop.logits(fresh.eval()), loop.logits(small.model.eval()), atol=1e-5)
    pruner.detach()
    for name, gate in pruner._gates.items():
        wanted = pruner._theta.tensors[name] * plain(cls, gate.detach())
        assert torch.allclose(loop.model.get_parameter(name), wanted, atol=1e-7)


@pytest.mark.parametrize("cls", GATED)
def test_before_the_first_step_the_network_is_as_it_came(cls: Any) -> None:
    plain_, _ = make("chain", T=2)
    loop = Loop(cls, "chain", sparsity=0.5)
    small = loop.pruner.compact().model
    loop.pruner.detach()
    for network in (small, loop.model):
        assert same(network.state_dict(), plain_.state_dict())


@pytest.mark.parametrize("cls", GATED)
def test_settings_out_of_range_are_refused(cls: Any) -> None:
    bad: list[dict[str, Any]] = [{"strength": -1.0}, {"rate": -1.0}]
    bad += [{"start": 1.0}] if cls is HardConcrete else [{"beta": (9.0, 1.0)}, {"total_steps": 0}]
    for settings in bad:
        with pytest.raises(mg.ConfigError, match=next(iter(settings))):
            Loop(cls, "chain", sparsity=0.5, **settings)
    model, x = make("chain")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(mg.ConfigError, match="schedule after the pruner"):
        cls(model, example_input=x, optimizer=optimizer, sparsity=0.5, every=1, until=2)
    assert not any(name.endswith("_gate") for name in model.state_dict())
