"""Every channel that can be removed is found, once, and looking for it changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import microglia as mg
import zoo
from microglia.structure import Structure, trace_structure


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_as_many_channels_as_a_hand_counts(name: str) -> None:
    structure = zoo.structure_of(name)
    assert sum(g.size for g in structure.groups) == zoo.CASES[name].channels, str(structure)
    assert structure.refused == ({"attention": "body"} if "transformer" in name else {})


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_groups_partition_what_they_touch(name: str) -> None:
    structure = zoo.structure_of(name)
    assert len({g.name for g in structure.groups}) == len(structure.groups)
    owned: dict[tuple[int, int], torch.Tensor] = {}
    for group in structure.groups:
        assert group.cuts
        assert group.gates
        assert group.layers
        for cut in group.cuts:
            assert cut.channel.shape == (structure.shapes[cut.leaf][cut.dim],)
            mine = cut.channel >= 0
            times = torch.bincount(cut.channel[mine], minlength=group.size)
            assert times.shape == (group.size,)
            assert int(times.min()) == int(times.max()) > 0, "channels are not cut alike"
            before = owned.setdefault((cut.leaf, cut.dim), torch.zeros_like(mine))
            assert not bool((before & mine).any()), "a position belongs to two groups"
            owned[cut.leaf, cut.dim] = before | mine


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_each_layer_is_removable_or_has_a_reason_to_stay(name: str) -> None:
    structure = zoo.structure_of(name)
    model, _ = zoo.make(name)
    for layer, module in model.named_modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            assert structure.fixed.get(layer) or any(layer in g.layers for g in structure.groups)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_analysis_mutates_nothing(name: str) -> None:
    model, x = zoo.make(name)
    model.train()
    list(model.modules())[1].eval()
    next(model.parameters()).requires_grad_(False)
    model.register_forward_hook(lambda m, args, out: None)
    torch.manual_seed(5)
    model(x)  # states of a half-finished sequence, with a graph behind them
    kept, before = x.clone(), zoo.snapshot(model)
    mg.analyse(model, x)
    after = zoo.snapshot(model)
    assert not [key for key in before if not zoo.same(before[key], after.get(key))]
    assert before.keys() == after.keys()
    assert torch.equal(x, kept)


@pytest.mark.parametrize("name", ["chain", "SEW-ResNet", "recurrent, multi-step", "snnTorch"])
def test_more_timesteps_tell_nothing_new(name: str) -> None:
    assert wiring(zoo.structure_of(name, T=5)) == wiring(zoo.structure_of(name))


@pytest.mark.parametrize("name", ["chain", "recurrent, multi-step", "recurrent, single-step"])
def test_one_timestep_tells_everything_where_states_are_kept_inside(name: str) -> None:
    assert wiring(zoo.structure_of(name, T=1)) == wiring(zoo.structure_of(name))


def test_a_recurrence_that_one_timestep_hides_is_closed_with_a_reason() -> None:
    structure = zoo.structure_of("snnTorch", T=1)
    assert [g.name for g in structure.groups] == ["conv1", "conv2"]
    assert "narrower" in structure.fixed["lif3.recurrent"]


@pytest.mark.parametrize("name", ["chain", "pre-activation", "recurrent, single-step", "decoder"])
def test_precision_mode_and_states_do_not_matter(name: str) -> None:
    model, x = zoo.make(name, seed=3)
    model.train()
    with torch.no_grad():
        model(torch.cat([x, x], -len(zoo.CASES[name].shape)))  # states of another batch
    assert wiring(mg.analyse(model.double(), x.double())) == wiring(zoo.structure_of(name))


def test_one_removable_group_is_not_cut_to_prove_the_others() -> None:
    """Tracing alone finds what the proof by cutting confirms."""
    for name in ("chain", "concatenation, groups"):
        assert wiring(trace_structure(*zoo.make(name))) == wiring(zoo.structure_of(name))


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_print_names_every_group_and_every_reason(name: str) -> None:
    structure = zoo.structure_of(name)
    text = str(structure)
    for group in structure.groups:
        assert group.name in text
    for layer, why in structure.fixed.items():
        assert f"stays: {layer}: {why}" in text


def test_a_network_without_neurons_is_refused() -> None:
    with pytest.raises(mg.StructureError, match=r"no spiking neuron.*register_neuron"):
        mg.analyse(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 3, 16, 16), (3,)])
def test_an_input_of_the_wrong_shape_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    model, _ = zoo.make("chain")
    with pytest.raises(mg.StructureError, match=str(shape[0])) as error:
        mg.analyse(model, torch.rand(shape))
    assert "input" in str(error.value)


@pytest.mark.parametrize("nothing", [None, 3, (), "images"])
def test_an_input_without_a_tensor_is_refused(nothing: object) -> None:
    model, _ = zoo.make("chain")
    with pytest.raises(mg.ConfigError, match="example_input: wanted a tensor"):
        mg.analyse(model, nothing)


def wiring(structure: Structure) -> list[tuple[object, ...]]:
    return [
        (
            g.name,
            g.size,
            g.kind,
            g.layers,
            g.readers,
            tuple(s.module for s in g.neurons),
            tuple(g.norms),
            g.stream,
            [(structure.leaves[c.leaf][0], c.dim, c.channel.tolist()) for c in g.cuts],
        )
        for g in structure.groups
    ]
