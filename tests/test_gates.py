"""A closed channel is silent; its norm learns as if it were open, and nothing before it does."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.structure import Group, Structure

SAMPLE = ["chain", "pre-activation", "concatenation, groups", "decoder", "MS-ResNet", "snnTorch"]


@pytest.mark.parametrize("name", zoo.NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_every_reader_of_a_closed_channel_sees_zero(name: str, training: bool) -> None:
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=2)
    model.train(training)
    seen: list[str] = []
    for group in structure.groups:
        shut = ~keep[group.name]
        for reader, positions in inputs_of(model, structure, group):
            module = model.get_submodule(reader)
            axis = -1 if isinstance(module, nn.Linear) else -3

            def look(
                m: nn.Module,
                args: Any,
                axis: int = axis,
                where: Tensor = shut[positions[1]],
                rows: Tensor = positions[0],
                reader: str = reader,
            ) -> None:
                values = args[0].detach().index_select(axis, rows)
                assert not values.index_select(axis, where.nonzero().flatten()).any(), reader
                seen.append(reader)

            module.register_forward_pre_hook(look)
    with torch.no_grad():
        model(x)
    assert set(seen) >= {r for g in structure.groups for r in g.readers if inside(model, r)}


def inputs_of(
    model: nn.Module, structure: Structure, group: Group
) -> list[tuple[str, tuple[Tensor, Tensor]]]:
    """The layers that read a group, with the (positions, channels) of their inputs."""
    found = []
    for cut in group.cuts:
        reader, _, attribute = structure.leaves[cut.leaf][0].rpartition(".")
        if reader in group.readers and attribute == "weight" and inside(model, reader):
            module = model.get_submodule(reader)
            transposed = isinstance(module, nn.ConvTranspose2d)
            if cut.dim == (0 if transposed else 1) and getattr(module, "groups", 1) == 1:
                rows = (cut.channel >= 0).nonzero().flatten()
                found.append((reader, (rows, cut.channel[rows])))
    return found


def inside(model: nn.Module, reader: str) -> bool:
    """Whether a plain hook on this layer sees the channels as its structure names them."""
    module = model.get_submodule(reader)
    return isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)) and (
        getattr(module, "groups", 1) == 1
    )


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_a_closed_channel_fires_nowhere(name: str) -> None:
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=4)
    fired = dict.fromkeys((s.module for g in structure.groups for s in g.neurons), 0.0)
    for group in structure.groups:
        for site in group.neurons:
            mine = (site.channel >= 0).nonzero().flatten()
            shut = mine[~keep[group.name][site.channel[mine]]]

            def look(
                m: nn.Module, args: Any, out: Any, site: Any = site, shut: Tensor = shut
            ) -> None:
                spikes = out[0] if isinstance(out, tuple) else out
                assert not spikes.index_select(site.dim, shut).any(), site.module
                fired[site.module] += float(spikes.detach().sum())

            model.get_submodule(site.module).register_forward_hook(look)
    model.eval()(x)
    assert min(fired.values()) > 0, "nothing fires, so silence proves nothing"


# --- straight through -------------------------------------------------------------------------


def reference(model: nn.Module, structure: Structure, keep: dict[str, Tensor]) -> None:
    """Gates written out, with `[.]` a constant to autograd.

    At a gate   x + [m x - x]      where the norm's output is gated: straight through,
                m x                where there is no norm
    before a norm whose output is gated   m x + [(1 - m) x]
    """
    for group in structure.groups:
        for site in group.gates:
            module = model.get_submodule(site.module)
            m = mask_along(site.channel, keep[group.name], site.dim)

            def gate(x: Tensor, m: Tensor = m, normed: bool = bool(site.norms)) -> Tensor:
                m = m.to(x.dtype)
                return x + (m * x - x).detach() if normed else m * x

            if site.side == "input":
                module.register_forward_pre_hook(lambda _, a, g=gate: (g(a[0]), *a[1:]))
            else:
                module.register_forward_hook(lambda _, a, y, g=gate: g(y))
            for norm in site.norms:
                m = mask_along(group.norms[norm], keep[group.name], site.dim)
                model.get_submodule(norm).register_forward_pre_hook(
                    lambda _, a, m=m: (m.to(a[0]) * a[0] + ((1 - m.to(a[0])) * a[0]).detach(),)
                )


def mask_along(channel: Tensor, keep: Tensor, dim: int) -> Tensor:
    """1 where a position is open or another group's, to be multiplied along an axis."""
    m = torch.ones(channel.numel())
    m[channel >= 0] = keep[channel[channel >= 0]].float()
    return m.reshape([-1] + [1] * (-dim - 1))


def gradients(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    out = model(x)
    out = out[0] + out[1] if isinstance(out, tuple) else out
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    (out * weights).sum().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_outputs_and_gradients_are_those_of_gates_written_out(name: str) -> None:
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=3)
    written, _ = zoo.make(name, T=3)
    reference(written, structure, keep)
    outcomes = []
    for net in (model, written):
        net.train()
        torch.manual_seed(1)  # dropout
        outcomes.append(gradients(net, x))
    (ours, gained), (theirs, expected) = outcomes
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert gained.keys() == expected.keys()
    for key, grad in expected.items():
        if grad is None:
            assert gained[key] is None
        else:
            assert torch.allclose(gained[key], grad, rtol=1e-3, atol=1e-5), key


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_gates_in_place_and_out_of_place_are_one(name: str) -> None:
    outcomes = []
    for in_place in (None, False):
        model, x = zoo.make(name, T=2)
        structure = zoo.structure_of(name)
        keep = zoo.random_keep(structure, 0.5, seed=1)
        if in_place is False:
            sites = {
                g.name: tuple(replace(s, in_place=False) for s in g.gates) for g in structure.groups
            }
            structure = replace(
                structure,
                groups=tuple(replace(g, gates=sites[g.name]) for g in structure.groups),
            )
        Gates(model, structure).set(keep)
        torch.manual_seed(1)
        outcomes.append(gradients(model.train(), x))
    (a, grads), (b, others) = outcomes
    assert torch.equal(a, b)
    assert zoo.same(grads, others)


def test_some_gates_of_the_zoo_do_write_in_place() -> None:
    """Else the test before this one compares nothing."""
    sites = [s for n in SAMPLE for g in zoo.structure_of(n).groups for s in g.gates]
    assert any(s.in_place for s in sites)
    assert not all(s.in_place for s in sites)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_closed_channel_tells_how_much_it_would_help(seed: int) -> None:
    """The scale's gradient is <dL/dy, x̂> at the closed gate, and isn't zero."""
    model, x = zoo.make("chain", T=3, seed=seed)
    structure = zoo.structure_of("chain")
    gates = Gates(model, structure)
    gates.set({"body.0": torch.tensor([True, False] * 4)})
    norm, node = model.body[1], model.body[2]
    kept: dict[str, Tensor] = {}

    def remember(m: nn.Module, args: Any) -> None:
        args[0].register_hook(lambda grad: kept.__setitem__("current", grad.clone()))

    node.register_forward_pre_hook(remember)
    norm.register_forward_hook(lambda m, a, y: kept.__setitem__("input", a[0].detach()))
    model.train()
    model(x).square().sum().backward()
    z = kept["input"].flatten(0, 1)
    mean, var = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), keepdim=True, unbiased=False)
    normed = (z - mean) / (var + norm.eps).sqrt()
    expected = (kept["current"].flatten(0, 1) * normed).sum((0, 2, 3))
    assert torch.allclose(norm.weight.grad, expected, rtol=1e-3, atol=1e-5)
    assert bool((norm.weight.grad[1::2] != 0).any())


@pytest.mark.parametrize("name", ["chain", "adaptive pooling, PLIF", "pre-activation"])
def test_nothing_before_a_closed_channel_learns_from_it(name: str) -> None:
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=3)
    gradients(model.train(), x)
    for group in structure.groups:
        for layer_name in group.layers:
            module = model.get_submodule(layer_name)
            rows = module.weight.grad.flatten(1).abs().sum(1)
            assert not rows[~keep[group.name]].any(), layer_name
            assert rows[keep[group.name]].any(), layer_name


# --- memory that is shared --------------------------------------------------------------------


class Once(nn.Module):
    """A static image: convolution and norm computed once, their output seen at every step."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.node = neuron.LIFNode(step_mode="m")
        self.fc = layer.Linear(8 * 36, 4, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return self.fc(self.node(y.expand(self.T, *y.shape)).flatten(2)).mean(0)


class Reused(nn.Module):
    """The current that drives the neuron is read again by another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.node = nn.Conv2d(3, 8, 3), zoo.MyNeuron()
        self.a, self.b = nn.Linear(8 * 36, 4), nn.Conv2d(8, 4, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.a(self.node(y).flatten(1)) + self.b(y).flatten(1)


class TwoNeurons(nn.Module):
    """One norm drives two neuron layers, one of them through a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.n1, self.n2 = zoo.MyNeuron(), zoo.MyNeuron()
        self.fc = nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return self.fc(self.n1(y).flatten(1)) + self.fc(self.n2(y.flatten(1)) * 0.5)


@pytest.mark.parametrize("build", [lambda: Once(3), Reused, TwoNeurons])
def test_shared_memory_is_gated_once_and_rightly(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(3)
    model, x = build(), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert [g.size for g in structure.groups] == [8]
    keep = {"conv": torch.tensor([True, False, True, True, False, True, False, True])}
    written = copy.deepcopy(model)
    reference(written, structure, keep)
    gates = Gates(model, structure)
    gates.set(keep)
    (ours, gained), (theirs, expected) = (gradients(m.train(), x) for m in (model, written))
    assert torch.allclose(ours, theirs, atol=1e-5)
    for key, grad in expected.items():
        assert torch.allclose(gained[key], grad, rtol=1e-3, atol=1e-5), key
    mg.reset(model)
    mg.certify(model, mg.surgery.cut(model, structure, keep)[0], structure, keep, x)


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_gates_work_without_autograd(context: Callable[[], Any]) -> None:
    model, x, _, _ = zoo.masked("chain", sparsity=0.5)
    model.eval()
    mg.reset(model)
    expected = model(x).detach()
    mg.reset(model)
    with context():
        assert torch.equal(model(x), expected)


def test_gates_work_in_bfloat16_autocast() -> None:
    model, x, _, keep = zoo.masked("chain", sparsity=0.5)
    spikes: list[Tensor] = []
    model.body[2].register_forward_hook(lambda m, a, y: spikes.append(y.detach()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train()(x).square().sum().backward()
    assert not spikes[0][:, :, ~keep["body.0"]].any()
    assert spikes[0].any()


# --- the state --------------------------------------------------------------------------------


@pytest.mark.parametrize("assign", [False, True])
def test_masks_travel_with_the_state_dict(assign: bool) -> None:
    model, x, structure, keep = zoo.masked("pre-activation", sparsity=0.5)
    other, _ = zoo.make("pre-activation", T=4, seed=9)
    theirs = Gates(other, structure)
    other.eval()(x)  # every gate has looked at its mask once
    other.load_state_dict(copy.deepcopy(model.state_dict()), assign=assign)
    for name, mask in theirs.keep().items():
        assert torch.equal(mask, keep[name])
    mg.reset(other)
    assert torch.equal(other(x), model.eval()(x))


def test_a_mask_changed_between_calls_counts_at_once() -> None:
    model, x = zoo.make("chain", T=3)
    gates = Gates(model.eval(), zoo.structure_of("chain"))
    outputs = []
    for pattern in ([True] * 8, [True, False] * 4, [False, True] * 4, [True] * 8):
        gates.set({"body.0": torch.tensor(pattern)})
        mg.reset(model)
        outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[3])
    assert len({tuple(o.flatten().tolist()) for o in outputs}) == 3


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_independent(name: str, how: Callable[[nn.Module], nn.Module]) -> None:
    if name == "snnTorch" and how is not copy.deepcopy:
        pytest.skip("snnTorch's surrogates are local functions, which pickle refuses")
    model, x, structure, keep = zoo.masked(name, sparsity=0.5, T=2)
    model.eval()
    twin = how(model)
    mg.reset(model)
    expected = first(model(x))
    Gates.set(gates_of(twin, structure), structure.everything())
    mg.reset(model)
    assert torch.equal(first(model(x)), expected)
    mg.reset(twin)
    assert not torch.equal(first(twin(x)), expected)
    Gates.set(gates_of(twin, structure), keep)
    mg.reset(twin)
    assert torch.equal(first(twin(x)), expected)


def gates_of(model: nn.Module, structure: Structure) -> Gates:
    """A handle on the gates that a copy of a gated network has."""
    gates = Gates.__new__(Gates)
    gates.model, gates.structure = model, structure
    return gates


def first(out: Any) -> Tensor:
    return out[1] if isinstance(out, tuple) else out


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_taking_gates_out_gives_the_network_back(name: str) -> None:
    model, x = zoo.make(name)
    model.eval()
    expected = first(model(x))
    mg.reset(model)
    before = zoo.snapshot(model)
    structure = zoo.structure_of(name)
    gates = Gates(model, structure)
    gates.set(zoo.random_keep(structure, 0.5, seed=0))
    assert set(model.state_dict()) > {k for k in model.state_dict() if "channel_gate" not in k}
    gates.remove()
    mg.reset(model)
    assert torch.equal(first(model(x)), expected)
    mg.reset(model)
    after = zoo.snapshot(model)
    assert before.keys() == after.keys()
    stateless = [k for k in before if k != "rng" and not is_state(k)]
    assert not [k for k in stateless if not zoo.same(before[k], after[k])]


def is_state(key: str) -> bool:
    """States of neurons are cleared, some into fresh tensors."""
    names = ("_memories", "_buffers[mem]", "_buffers[syn", "_buffers[spk]", ": v", ": h", ": _v")
    return any(n in key for n in names)


def test_a_wrong_mask_is_refused_and_changes_nothing() -> None:
    model, _, structure, keep = zoo.masked("chain", sparsity=0.5)
    gates = gates_of(model, structure)
    for wrong in (
        {"body.7": torch.ones(8, dtype=torch.bool)},
        {"body.0": torch.ones(9, dtype=torch.bool)},
        {"body.0": torch.ones(8)},
        {"body.0": torch.zeros(8, dtype=torch.bool)},
        {"body.0": torch.ones(8, dtype=torch.bool), "body.4": torch.zeros(12, dtype=torch.bool)},
    ):
        with pytest.raises(mg.ConfigError, match=r"body"):
            gates.set(wrong)
        assert zoo.same(gates.keep(), keep)


def test_gates_on_gates_are_refused() -> None:
    model, _, structure, _ = zoo.masked("chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="detach"):
        Gates(model, structure)
