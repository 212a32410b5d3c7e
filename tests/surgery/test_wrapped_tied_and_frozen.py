"""Networks that come wrapped, frozen, tied, or with tuples in and out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.surgery import certify, cut


def proved(model: nn.Module, x: object, *, sparsity: float = 0.5) -> nn.Module:
    """The network with half of its channels removed, certified."""
    structure = mg.analyse(model, x)
    keep = zoo.random_keep(structure, sparsity, seed=1)
    gates = Gates(model, structure)
    gates.set(keep)
    small, _ = cut(model, structure, keep)
    assert certify(model, small, structure, keep, x).spikes > 0
    gates.remove()
    return small


@pytest.mark.parametrize("deep", [False, True])
def test_data_parallel_is_refused_by_name(deep: bool) -> None:
    model, x = zoo.make("chain")
    wrapped: nn.Module = nn.DataParallel(model)
    if deep:
        wrapped = nn.Sequential(wrapped)
    with pytest.raises(mg.StructureError, match=r"DataParallel.*\.module"):
        mg.analyse(wrapped, x)
    with pytest.raises(mg.StructureError, match="DataParallel"):
        mg.Magnitude(wrapped, sparsity=0.5, example_input=x)


def test_a_compiled_network_is_refused_by_name() -> None:
    model, x = zoo.make("chain")
    compiled = torch.compile(model)  # compiles at the first call, which never comes
    with pytest.raises(mg.StructureError, match=r"compiled.*_orig_mod"):
        mg.analyse(compiled, x)
    assert type(compiled).__name__ == "OptimizedModule"


def test_a_scripted_network_is_refused_by_name() -> None:
    class Script(torch.jit.ScriptModule):  # as torch.jit.script gives; making one is deprecated
        def __init__(self) -> None:
            nn.Module.__init__(self)

    with pytest.raises(mg.StructureError, match="TorchScript"):
        mg.analyse(Script.__new__(Script), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["chain", "pre-activation", "recurrent, single-step"])
def test_frozen_parameters_stay_frozen(name: str) -> None:
    model, x = zoo.make(name, T=4)
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i % 2 == 0)
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    small = proved(model, x)
    assert {n: p.requires_grad for n, p in small.named_parameters()} == before
    assert {n: p.requires_grad for n, p in model.named_parameters()} == before


class Tied(nn.Module):
    """Two layers of one weight, and an output layer tied to the transpose of an input layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.n1 = nn.Linear(6, 10), zoo.MyNeuron()
        self.a, self.n2 = nn.Linear(10, 10), zoo.MyNeuron()
        self.b, self.n3 = nn.Linear(10, 10, bias=False), zoo.MyNeuron()
        self.b.weight = self.a.weight
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.n1(self.inp(x))
        return self.out(self.n3(self.b(self.n2(self.a(y)))))


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    model, x = zoo.OverTime(Tied(), 4), torch.rand(3, 6)
    zoo.drive(model)
    small = proved(model, x)
    assert small.body.a.weight is small.body.b.weight
    rows, columns = small.body.a.weight.shape
    assert rows == columns < 10
    assert len(list(small.parameters())) == len(list(model.parameters()))


class Shared(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.neuron = nn.Conv2d(3, 8, 3, padding=1), zoo.MyNeuron()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.again, self.neuron2, self.neuron3 = self.first, zoo.MyNeuron(), zoo.MyNeuron()
        self.out = nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.neuron2(self.first(self.neuron(self.inp(x))))
        return self.out(self.neuron3(self.again(y)).flatten(1))


def test_a_module_under_two_names_stays_one() -> None:
    torch.manual_seed(0)
    model, x = zoo.OverTime(Shared(), 3), torch.rand(2, 3, 8, 8)
    zoo.drive(model)
    small = proved(model, x)
    assert small.body.first is small.body.again
    assert small.body.first.weight.shape[0] == small.body.first.weight.shape[1] < 8


class Tuples(nn.Module):
    """Takes (image, scale), returns (logits, {spikes, membrane}) at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.node, self.fc = nn.Conv2d(3, 8, 3), zoo.MyNeuron(8), nn.Linear(8 * 36, 4)
        self.readout = zoo.MyNeuron()

    def forward(self, x: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.fc(self.node(self.conv(x) * scale).flatten(1))
        spikes = self.readout(y)
        return spikes, {"membrane": self.readout.h, "current": y}


def test_tuples_in_and_nested_outputs_out() -> None:
    torch.manual_seed(0)
    model, x = Tuples(), (torch.rand(2, 3, 8, 8), torch.tensor(1.5))
    zoo.drive(model)
    small = proved(model, x)
    assert small.conv.out_channels < 8
    assert small.node.leak.shape[0] == small.conv.out_channels
    pruner = mg.Magnitude(model, sparsity=0.5, example_input=x)
    pruner.calibrate()
    assert pruner.compact().certificate is not None


def test_snntorch_tuples_of_spikes_and_membranes() -> None:
    model, x = zoo.make("snnTorch", T=4)
    spikes, membranes = proved(model, x)(x)
    assert spikes.shape == membranes.shape == (4, 2, 5)


def test_a_double_network_stays_double() -> None:
    model, x = zoo.make("chain")
    meta = model.to(torch.float64)
    small = proved(meta, x.double())
    assert all(p.dtype == torch.float64 for p in small.parameters())
    assert all(p.device == torch.device("cpu") for p in small.parameters())
