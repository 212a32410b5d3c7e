"""Which layers a channel lives in: what decides it, what it is tied to, what goes with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.methods import Magnitude
from microglia.structure import Group, Structure
from microglia.surgery import cut


def group_of(structure: Structure, layer: str) -> Group:
    return next(g for g in structure.groups if layer in g.layers)


def decided_by(group: Group) -> tuple[set[str], set[str]]:
    return set(group.norms), {site.module for site in group.neurons}


# --- residual networks ------------------------------------------------------------------------


@pytest.mark.parametrize("block", [0, 1, 2])
def test_pre_activation_conv1_is_decided_by_the_second_norm_and_neuron(block: int) -> None:
    at = f"body.blocks.{block}"
    group = group_of(zoo.structure_of("pre-activation"), f"{at}.conv1")
    assert decided_by(group) == ({f"{at}.bn2"}, {f"{at}.sn2"})
    assert group.layers == (f"{at}.conv1",)
    assert group.readers == (f"{at}.conv2",)
    assert not group.stream


def test_pre_activation_streams_are_decided_by_the_first_norms_that_read_them() -> None:
    structure = zoo.structure_of("pre-activation")
    blocks = [f"body.blocks.{i}" for i in range(3)]
    first, second = (g for g in structure.groups if g.stream)
    assert set(first.layers) == {"body.stem", f"{blocks[0]}.conv2", f"{blocks[1]}.conv2"}
    assert decided_by(first) == ({f"{b}.bn1" for b in blocks}, {f"{b}.sn1" for b in blocks})
    assert set(second.layers) == {f"{blocks[2]}.short", f"{blocks[2]}.conv2"}
    assert decided_by(second) == ({"body.bn"}, {"body.sn"})


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("SEW-ResNet", ("bn1", "sn1")),
        ("spiking ResNet", ("bn1", "sn1")),
        ("MS-ResNet", ("bn1", "spike2")),
    ],
)
def test_residual_blocks_of_spikingjelly(name: str, inner: tuple[str, str]) -> None:
    structure = zoo.structure_of(name)
    root = "" if name == "MS-ResNet" else "body."
    blocks = [f"{root}layer{stage}.{i}" for stage, i in ((1, 0), (2, 0), (2, 1), (3, 0), (4, 0))]
    for block in blocks:
        group = group_of(structure, f"{block}.conv1")
        assert group.layers == (f"{block}.conv1",)
        assert decided_by(group) == ({f"{block}.{inner[0]}"}, {f"{block}.{inner[1]}"})
        assert not group.stream
    stream = group_of(structure, f"{root}layer2.0.conv2")
    assert stream.stream
    assert set(stream.layers) == {
        f"{root}layer2.0.conv2",
        f"{root}layer2.1.conv2",
        f"{root}layer2.0.downsample.0",
    }
    _, neurons = decided_by(stream)
    expected = {
        "SEW-ResNet": {"layer2.0.sn2", "layer2.1.sn2"},
        "MS-ResNet": {"layer2.1.spike1", "layer3.0.spike1"},
        "spiking ResNet": {"layer2.0.sn2", "layer2.1.sn2"},
    }[name]
    shortcut = {f"{root}layer2.0.downsample.2", f"{root}layer2.0.downsample_sn"}
    assert neurons - shortcut == {root + n for n in expected}
    stem = group_of(structure, "stem.0" if name == "MS-ResNet" else "body.conv1")
    # MS-ResNet's first block halves the map, so its stem stands alone.
    joined = () if name == "MS-ResNet" else ("body.layer1.0.conv2",)
    assert stem.layers[1:] == joined


@pytest.mark.parametrize(
    "name", ["pre-activation", "SEW-ResNet", "MS-ResNet", "spiking ResNet", "chain"]
)
def test_residual_inner_leaves_streams_alone(name: str) -> None:
    model, x = zoo.make(name)
    inner = Magnitude(model, sparsity=0.5, example_input=x, residual="inner", scope="layer")
    whole = zoo.structure_of(name)
    expected = {g.name for g in whole.groups if g.kind == "conv" and not g.stream}
    assert {g.name for g in inner.structure.groups} == expected
    inner.calibrate()
    small = inner.compact().model
    for group in whole.groups:
        rows = small.get_submodule(group.layers[-1]).weight.shape[0]
        before = model.get_submodule(group.layers[-1]).weight.shape[0]
        assert (rows == before) == (group.name not in expected)
    inner.detach()
    tied = Magnitude(model, sparsity=0.5, example_input=x, residual="tied")
    streams = {g.name for g in tied.structure.groups if g.stream}
    assert streams == {g.name for g in whole.groups if g.stream and g.kind == "conv"}


# --- recurrent layers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "into", "recurrent", "neuron", "out"),
    [
        ("recurrent, multi-step", "rec.rc", "rec.rc", "rec.sub_module", "mid"),
        ("recurrent, single-step", "body.rec.rc", "body.rec.rc", "body.rec.sub_module", "body.mid"),
        ("recurrent, hand-written", "w_in", "w_rec", "cell", "out"),
        ("snnTorch", "fc1", "lif3.recurrent", "lif3", "fc2"),
    ],
)
@pytest.mark.parametrize("removed", [[0], [1, 4, 9], list(range(9))])
def test_a_recurrent_neuron_goes_with_its_row_and_its_column(
    name: str, into: str, recurrent: str, neuron: str, out: str, removed: list[int]
) -> None:
    structure = zoo.structure_of(name)
    model, x = zoo.make(name)
    group = group_of(structure, recurrent)
    assert group.kind == "recurrent"
    assert [site.module for site in group.neurons] == [neuron]
    keep = torch.ones(10, dtype=torch.bool)
    keep[removed] = False
    small, _ = cut(model, structure, {group.name: keep})

    def weight(net: nn.Module, layer: str) -> Tensor:
        return net.get_submodule(layer).weight

    rows = weight(model, recurrent)[keep]
    if into == recurrent:  # one matrix reads cat(input, feedback): its last columns feed back
        expected = torch.cat([rows[:, :10], rows[:, 10:][:, keep]], 1)
    else:
        expected = rows[:, keep]
        assert torch.equal(weight(small, into), weight(model, into)[keep])
    assert torch.equal(weight(small, recurrent), expected)
    assert torch.equal(weight(small, out), weight(model, out)[:, keep])
    small(x)


@pytest.mark.parametrize("name", ["chain, own neuron", "snnTorch", "snnTorch, hidden inside"])
def test_parameters_of_each_neuron_go_with_it(name: str) -> None:
    """Leaks of one value for each channel or neuron, as a parameter or a buffer."""
    model, x = (
        zoo.make(name)
        if name != "chain, own neuron"
        else (zoo.OverTime(PerChannel(), 3), torch.rand(2, 3, 8, 8))
    )
    structure = mg.analyse(model, x)
    keep = zoo.random_keep(structure, 0.5, seed=2)
    small, _ = cut(model, structure, keep)
    leaks = {
        "chain, own neuron": {"body.n1.leak": "body.conv1", "body.n2.leak": "body.conv2"},
        "snnTorch": {"lif1.beta": "conv1"},
        "snnTorch, hidden inside": {"net.8.beta": "net.7"},
    }[name]
    for leak, group in leaks.items():
        assert group in keep
        assert not bool(keep[group].all())
        module, attribute = leak.rsplit(".", 1)
        before = getattr(model.get_submodule(module), attribute)
        after = getattr(small.get_submodule(module), attribute)
        assert torch.equal(after, before[keep[group]])
        assert type(after) is type(before)


class PerChannel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.n1 = nn.Conv2d(3, 6, 3), zoo.MyNeuron(6)
        self.conv2, self.n2 = nn.Conv2d(6, 7, 3), zoo.MyNeuron(7)
        self.fc = nn.Linear(7 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.n2(self.conv2(self.n1(self.conv1(x)))).flatten(1))


# --- concatenation, groups, flatten -----------------------------------------------------------


def test_concatenated_branches_are_pruned_each_for_itself() -> None:
    structure = zoo.structure_of("concatenation, groups")
    model, _ = zoo.make("concatenation, groups")
    keep = {"body.a": mask(6, without=[1, 2]), "body.b": mask(4, without=[0])}
    small, _ = cut(model, structure, keep)
    both = torch.cat([keep["body.a"], keep["body.b"]])
    assert torch.equal(small.body.mix.weight, model.body.mix.weight[:, both])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(small.body.bn, name), getattr(model.body.bn, name)[both])


def test_a_grouped_convolution_loses_as_many_channels_in_every_group() -> None:
    structure = zoo.structure_of("concatenation, groups")
    model, _ = zoo.make("concatenation, groups")
    # 12 channels in 3 groups: the i-th of each group go together, into the depthwise layer too.
    keep = {"body.mix": mask(4, without=[2]), "body.grouped": mask(4, without=[0, 3])}
    small, _ = cut(model, structure, keep)
    body = small.body
    assert body.mix.out_channels == 9
    assert (body.grouped.in_channels, body.grouped.out_channels, body.grouped.groups) == (9, 6, 3)
    assert (body.depth.in_channels, body.depth.out_channels, body.depth.groups) == (6, 12, 6)
    rows = mask(4, without=[0, 3]).repeat(3)
    columns = mask(4, without=[2])
    assert torch.equal(body.grouped.weight, model.body.grouped.weight[rows][:, columns])
    pairs = rows.repeat_interleave(2)
    assert torch.equal(body.depth.weight, model.body.depth.weight[pairs])


def test_flatten_takes_a_block_of_features_for_each_channel() -> None:
    structure = zoo.structure_of("chain")
    model, _ = zoo.make("chain")
    keep = mask(12, without=[0, 5, 11])
    small, _ = cut(model, structure, {"body.4": keep})
    expected = model.body[10].weight[:, keep.repeat_interleave(4)]
    assert torch.equal(small.body[10].weight, expected)
    assert small.body[10].in_features == 36


def test_a_shared_convolution_stays_one() -> None:
    structure = zoo.structure_of("plain PyTorch, shared")
    model, _ = zoo.make("plain PyTorch, shared")
    keep = mask(8, without=[3, 4])
    small, _ = cut(model, structure, {"conv1": keep})
    assert torch.equal(small.shared.weight, model.shared.weight[keep][:, keep])
    assert torch.equal(small.fc.weight, model.fc.weight[:, keep])


def mask(size: int, *, without: list[int]) -> Tensor:
    keep = torch.ones(size, dtype=torch.bool)
    keep[without] = False
    return keep
