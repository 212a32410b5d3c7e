"""What nothing reads goes, and nothing else, where networks read themselves too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import microglia as mg
import zoo
from microglia.surgery import certify, cut, unread

Edges = list[tuple[str, int, str, str]]
"""A layer, the first of its columns, the group that they read, and that of its rows or none."""

PATHS: dict[str, Edges] = {
    "recurrent, hand-written": [("w_rec", 0, "w_in", "w_in"), ("out", 0, "w_in", "")],
    "recurrent, adaptive": [
        ("lsnn.cell.recurrent", 0, "lsnn.cell.input", "lsnn.cell.input"),
        ("lsnn.readout", 0, "lsnn.cell.input", ""),
    ],
    "recurrent, multi-step": [
        ("rec.rc", 10, "rec.rc", "rec.rc"),
        ("rec.rc", 0, "inp", "rec.rc"),
        ("mid", 0, "rec.rc", "mid"),
        ("out", 0, "mid", ""),
    ],
}


def thinned(name: str, sparsity: float, seed: int) -> tuple[nn.Module, torch.Tensor]:
    """A network of which so many weights, drawn at random, are zero."""
    model, x = zoo.make(name, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(torch.rand(parameter.shape, generator=generator) >= sparsity)
    return model, x


def reaching(model: nn.Module, sizes: dict[str, int], edges: Edges) -> dict[str, list[bool]]:
    """The neurons of each group from which an output is reached, by walking back from it."""
    found = {name: [False] * size for name, size in sizes.items()}
    for _ in range(sum(sizes.values())):
        for layer, start, source, target in edges:
            weight = model.get_parameter(f"{layer}.weight")[:, start : start + sizes[source]]
            for i, j in weight.nonzero().tolist():
                if not target or found[target][i]:
                    found[source][j] = True
    return found


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sparsity", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_neuron_left_reaches_an_output(name: str, sparsity: float, seed: int) -> None:
    model, x = thinned(name, sparsity, seed)
    structure = mg.analyse(model, x)
    keep = unread(model, structure)
    small = cut(model, structure, keep)[0]
    certify(model, small, structure, keep, x, unread=True)
    sizes = {g.name: g.size for g in structure.groups}
    wanted = reaching(model, sizes, PATHS[name])
    if all(map(any, wanted.values())):  # else one that reaches none stays, with what it reads
        assert {group: mask.tolist() for group, mask in keep.items()} == wanted
    assert all(mask.any() for mask in keep.values())


@pytest.mark.parametrize("name", PATHS)
def test_an_island_goes(name: str) -> None:
    """Neurons that read each other and are read by nobody else."""
    model, x = zoo.make(name)
    (loop, start, group, _), *others = PATHS[name]
    with torch.no_grad():
        model.get_parameter(f"{loop}.weight")[:5, start + 5 :] = 0
        for layer, first, source, _ in others:
            if source == group:
                model.get_parameter(f"{layer}.weight")[:, first + 5 :] = 0
    structure = mg.analyse(model, x)
    keep = unread(model, structure)
    assert keep[group].tolist() == [i < 5 for i in range(structure[group].size)]


@pytest.mark.parametrize("name", PATHS)
def test_where_no_output_is_reached_one_stays_with_what_it_reads(name: str) -> None:
    model, x = zoo.make(name)
    with torch.no_grad():
        for layer, *_ in PATHS[name]:
            model.get_parameter(f"{layer}.weight").zero_()
        loop = model.get_parameter(f"{PATHS[name][0][0]}.weight")
        loop[:, -1] = 1.0  # all read the last one
    structure = mg.analyse(model, x)
    keep = unread(model, structure)
    certify(model, cut(model, structure, keep)[0], structure, keep, x, unread=True)
    group = PATHS[name][0][2]
    assert keep[group][-1]
    assert int(keep[group].sum()) <= 2


@pytest.mark.parametrize("name", zoo.whole_or_sampled(["chain", "pre-activation"], zoo.SMALL))
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_left_computes_the_same(name: str, seed: int) -> None:
    model, x = thinned(name, 0.8, seed)
    structure = mg.analyse(model, x)
    keep = unread(model, structure)
    certify(model, cut(model, structure, keep)[0], structure, keep, x, unread=True)
    again = unread(model, structure)
    assert all(torch.equal(again[g], mask) for g, mask in keep.items())
