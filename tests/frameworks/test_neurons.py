"""What a spiking neuron is, to microglia: found, read, reset, copied, resized."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.frameworks import (
    bare_copy,
    fresh_copy,
    neuron_kind,
    register_neuron,
    reset,
    spiking_neurons,
)
from microglia.surgery import cut

SPIKINGJELLY = [
    neuron.IFNode,
    neuron.LIFNode,
    neuron.ParametricLIFNode,
    neuron.QIFNode,
    neuron.EIFNode,
    neuron.KLIFNode,
    neuron.SimpleIFNode,
    lambda: neuron.SimpleLIFNode(tau=2.0, decay_input=True),
    lambda: neuron.PSN(T=3),
    lambda: neuron.MaskedPSN(k=2, T=3),
    lambda: neuron.SlidingPSN(k=2),
]
SNNTORCH = [
    lambda: snn.Leaky(beta=0.9),
    lambda: snn.Synaptic(alpha=0.8, beta=0.9),
    lambda: snn.Alpha(alpha=0.9, beta=0.8),
    lambda: snn.Lapicque(beta=0.9),
    lambda: snn.RLeaky(beta=0.9, linear_features=4),
    lambda: snn.RSynaptic(alpha=0.8, beta=0.9, linear_features=4),
]


@pytest.mark.parametrize("build", SPIKINGJELLY)
def test_neurons_of_spikingjelly_are_found(build: Any) -> None:
    kind = neuron_kind(build())
    assert kind is not None
    assert kind.framework == "spikingjelly"


@pytest.mark.parametrize("build", SNNTORCH)
def test_neurons_of_snntorch_are_found(build: Any) -> None:
    kind = neuron_kind(build())
    assert kind is not None
    assert kind.framework == "snntorch"


@pytest.mark.parametrize(
    "build",
    [
        nn.ReLU,
        nn.Identity,
        lambda: nn.Conv2d(1, 1, 1),
        lambda: layer.Dropout(0.5),
        lambda: layer.BatchNorm2d(3),
        lambda: layer.SynapseFilter(),
        lambda: layer.LinearRecurrentContainer(neuron.IFNode(), 2, 2),
        lambda: nn.GRU(3, 3),
    ],
)
def test_what_is_no_neuron_is_none(build: Any) -> None:
    assert neuron_kind(build()) is None


@pytest.mark.parametrize("name", zoo.SMALL)
def test_neurons_come_by_name_in_order_of_definition(name: str) -> None:
    model, _ = zoo.make(name)
    found = spiking_neurons(model)
    order = [n for n, _ in model.named_modules()]
    assert list(found) == sorted(found, key=order.index)
    assert all(model.get_submodule(n) is m for n, m in found.items())
    assert set(zoo.structure_of(name).neurons) <= set(found)


# --- reset ------------------------------------------------------------------------------------


def run(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = model.eval()(x)
    return torch.cat([y.flatten() for y in out]) if isinstance(out, tuple) else out.flatten()


@pytest.mark.parametrize("name", zoo.SMALL)
def test_after_a_reset_a_network_is_as_new(name: str) -> None:
    model, x = zoo.make(name, T=3)
    first = run(model, x)
    run(model, x * 1.5)
    reset(model)
    assert torch.equal(run(model, x), first)


@pytest.mark.parametrize("name", ["chain", "recurrent, single-step", "dense", "decoder"])
def test_without_a_reset_it_is_not(name: str) -> None:
    model, x = zoo.make(name, T=3)
    first = run(model, x)
    assert not torch.equal(run(model, x), first)


@pytest.mark.parametrize("name", zoo.SMALL)
def test_after_a_reset_the_batch_may_have_another_size(name: str) -> None:
    model, x = zoo.make(name, T=3)
    run(model, x)
    reset(model)
    batch = 1 if zoo.CASES[name].time_first else 0
    wider = torch.cat([x, x, x], batch)
    assert run(model, wider).numel() % 3 == 0


# --- neurons of the user's own ----------------------------------------------------------------


class Own(nn.Module):
    theta = 0.4

    def __init__(self) -> None:
        super().__init__()
        self.potential: Tensor | None = None
        self.cleared = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.potential = 2 * x
        return (self.potential >= self.theta).to(x), self.potential

    def clear(self) -> None:
        self.cleared += 1


class Heir(Own):
    pass


def test_one_line_makes_a_class_and_its_heirs_known() -> None:
    assert neuron_kind(Own()) is None
    register_neuron(Own, membrane=lambda m: m.potential.abs(), reset="clear", threshold="theta")
    for node in (Own(), Heir()):
        kind = neuron_kind(node)
        assert kind is not None
        assert kind.threshold(node) == 0.4
        assert not kind.multi_step(node)
        x = torch.tensor([[-1.0, 0.5], [0.1, 0.3]], requires_grad=True)
        out = node(x)
        seen = kind.observe(node, x, kind.snapshot(node), out, None)
        assert torch.equal(seen.spikes, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        assert torch.allclose(seen.membrane, torch.tensor([[2.0, 1.0], [0.2, 0.6]]))
        assert not seen.membrane.requires_grad
        assert seen.released is None
        assert len(kind.observe(node, x, None, out, 1).spikes) == 1
        reset(nn.Sequential(node))
        assert node.cleared == 1


def test_the_nearest_base_decides() -> None:
    class Base(nn.Module):
        pass

    class Closer(Base):
        pass

    class Closest(Closer):
        pass

    register_neuron(Base, membrane="v", threshold=1.0)
    register_neuron(Closer, membrane="v", threshold=2.0)
    kind = neuron_kind(Closest())
    assert kind is not None
    assert kind.threshold(Closest()) == 2.0


@pytest.mark.parametrize("thing", [nn.ReLU(), int, "LIF", lambda x: x])
def test_only_module_classes_can_be_registered(thing: Any) -> None:
    with pytest.raises(mg.ConfigError, match="subclass"):
        register_neuron(thing, membrane="v")


@pytest.mark.parametrize("node", [neuron.QIFNode, neuron.EIFNode])
def test_where_the_potential_is_not_known_the_score_says_what_to_do(node: Any) -> None:
    model = zoo.chain(3, node=node)
    x = torch.rand(2, 3, 8, 8)
    pruner = mg.SCA(model, sparsity=0.5, example_input=x, every=1)
    with pytest.raises(mg.ConfigError, match=r"body\.2.*score='rate'"):
        model.train()(x)
    pruner.detach()
    reset(model)
    pruner = mg.SCA(model, sparsity=0.5, example_input=x, every=1, score="rate", regrow=0.0)
    model(x)
    pruner.step()
    assert pruner.sparsity_reached == pytest.approx(0.5)


# --- what a forward leaves in a multi-step layer, stepped by hand ------------------------------


@pytest.mark.parametrize("samples", [None, 1, 2, 99])
@pytest.mark.parametrize("continued", [False, True])
def test_an_observation_goes_on_from_the_state_before_the_call(
    samples: int | None, continued: bool
) -> None:
    node = neuron.LIFNode(tau=3.0, v_reset=None, step_mode="m")
    kind = neuron_kind(node)
    assert kind is not None
    v = torch.zeros(3, 4)
    if continued:
        early = torch.rand(2, 3, 4) * 3
        for x_t in early:
            v = v + (x_t - v) / 3
            v = v - (v >= 1).to(v)
        node(early)
    x = torch.rand(5, 3, 4) * 3
    before = kind.snapshot(node)
    out = node(x)
    seen = kind.observe(node, x, before, out, samples)
    n = 3 if samples is None else min(samples, 3)
    for t, x_t in enumerate(x):
        h = v + (x_t - v) / 3
        v = h - (h >= 1).to(h)
        assert torch.allclose(seen.membrane[t], h[:n], atol=1e-6)
        assert torch.allclose(seen.released[t], v[:n], atol=1e-6)
    assert torch.equal(seen.spikes, out[:, :n])


# --- copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.SMALL)
def test_a_copy_is_fresh_though_states_hang_on_a_graph(name: str) -> None:
    model, x = zoo.make(name, T=2)
    model.train()(x)
    before = zoo.snapshot(model)
    copied = fresh_copy(model)
    after = zoo.snapshot(model)
    assert not [k for k in before if not zoo.same(before[k], after.get(k))]
    assert zoo.same(dict(copied.state_dict()), dict(model.state_dict()))
    mine = {p.data_ptr() for p in model.parameters()}
    assert not mine & {p.data_ptr() for p in copied.parameters()}
    reset(copied)
    reset(model)
    assert torch.equal(run(copied, x), run(model, x))


def test_a_bare_copy_has_no_gates() -> None:
    model, x, _, _ = zoo.masked("chain", sparsity=0.5, T=2)
    plain, _ = zoo.make("chain", T=2)
    bare = bare_copy(model)
    assert list(bare.state_dict()) == list(plain.state_dict())
    assert torch.equal(run(bare, x), run(plain, x))
    assert "body.0.channel_gate" in model.state_dict()
    reset(model)
    assert not torch.equal(run(model, x), run(bare_copy(plain), x))


# --- sizes beside the weights -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "attribute", "group"),
    [
        ("recurrent, multi-step", "rec", "sub_module_out_features", "rec.rc"),
        ("snnTorch", "lif3", "linear_features", "fc1"),
        ("snnTorch, hidden inside", "net.2", "conv2d_channels", "net.0"),
    ],
)
@pytest.mark.parametrize("kept", [1, 3, 7])
def test_sizes_follow_the_cut(
    name: str, module: str, attribute: str, group: str, kept: int
) -> None:
    model, x = zoo.make(name)
    structure = zoo.structure_of(name)
    size = structure[group].size
    keep = {group: torch.arange(size) < kept}
    small, sizes = cut(model, structure, keep)
    assert getattr(small.get_submodule(module), attribute) == kept
    assert sizes[module][attribute] == kept
    assert getattr(model.get_submodule(module), attribute) == size
    run(small, x)


def test_multi_step_layers_take_time_first() -> None:
    node = neuron.LIFNode()
    kind = neuron_kind(node)
    assert kind is not None
    assert not kind.multi_step(node)
    functional.set_step_mode(node, "m")
    assert kind.multi_step(node)
    assert kind.threshold(neuron.IFNode(v_threshold=0.3)) == 0.3
