"""What was removed keeps its name, over several cuts, and can come back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.structure import Structure
from microglia.surgery import Compact, Ledger, certify, compact, cut, regrow
from microglia.surgery.cut import tensor_at

SAMPLE = [
    "chain",
    "pre-activation",
    "concatenation, groups",
    "recurrent, multi-step",
    "snnTorch",
    "decoder",
    "dense",
    "plain PyTorch, shared",
    "functional",
    "snnTorch, hidden inside",
]
NETWORKS = zoo.whole_or_sampled(SAMPLE, zoo.CASES)


def run(model: nn.Module, x: Tensor) -> Tensor:
    model.eval()
    mg.reset(model)
    with torch.no_grad():
        out = model(x)
    return torch.cat([y.flatten() for y in out]) if isinstance(out, tuple) else out


def once(name: str, *, sparsity: float, seed: int = 0) -> tuple[nn.Module, Tensor, Compact]:
    model, x, structure, keep = zoo.masked(name, sparsity=sparsity, seed=seed)
    return model, x, compact(model, structure, keep, example_input=x)


@pytest.mark.parametrize("name", NETWORKS)
def test_ids_are_those_of_the_first_network_over_two_cuts(name: str) -> None:
    dense, x = zoo.make(name, T=4)
    first_cut = once(name, sparsity=0.3)[2]
    again = mg.analyse(first_cut.model, x)
    keep = zoo.random_keep(again, 0.4, seed=7)
    Gates(first_cut.model, again).set(keep)
    second = compact(first_cut.model, again, keep, example_input=x, ledger=first_cut.ledger)
    structure = first_cut.ledger.structure
    total = second.ledger.keep
    for group in structure.groups:
        left = first_cut.ledger.keep[group.name].sum()
        kept = keep[group.name].sum() if group.name in keep else left
        assert total[group.name].sum() == kept
        assert not (total[group.name] & ~first_cut.ledger.keep[group.name]).any()
        ids = second.ledger.ids()[group.name]
        assert sorted(ids + second.ledger.removed()[group.name]) == list(range(group.size))
    direct, _ = cut(dense, structure, total)
    assert zoo.same(direct.state_dict(), second.model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", zoo.whole_or_sampled([0], [0, 1, 2]))
def test_remembered_channels_bring_the_wider_function_back_exactly(name: str, seed: int) -> None:
    model, x, small = once(name, sparsity=0.6, seed=seed)
    structure = small.ledger.structure
    gates = handle(model, structure)
    wider, back = some_back(small.ledger, seed)
    gates.set(wider)
    grown = regrow(small.model, small.ledger, channels=back)
    assert grown.ledger.keep.keys() == wider.keys()
    assert all(torch.equal(grown.ledger.keep[n], wider[n]) for n in wider)
    direct, _ = cut(model, structure, wider)
    assert zoo.same(direct.state_dict(), grown.model.state_dict())
    certify(model, grown.model, structure, wider, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_back_is_the_dense_network_to_the_bit(name: str) -> None:
    dense, x = zoo.make(name, T=4)
    small = once(name, sparsity=0.7)[2]
    grown = regrow(small.model, small.ledger, channels=small.ledger.removed())
    assert zoo.same(dense.state_dict(), grown.model.state_dict())
    assert torch.equal(run(dense, x), run(grown.model, x))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", zoo.whole_or_sampled([0], [0, 1, 2]))
def test_fresh_channels_leave_the_function_as_it_is(name: str, seed: int) -> None:
    """Their outgoing weights are zero, so only the order of sums can differ."""
    _, x, small = once(name, sparsity=0.6, seed=seed)
    wider, back = some_back(small.ledger, seed)
    grown = regrow(small.model, small.ledger, channels=back, weights="fresh", seed=seed)
    assert sum(map(len, back.values())) > 0
    narrow, wide = zoo.double(small.model), zoo.double(grown.model)
    assert torch.allclose(run(narrow, x.double()), run(wide, x.double()), atol=1e-9)
    assert all(torch.equal(grown.ledger.keep[n], wider[n]) for n in wider)


def test_fresh_channels_have_weights_to_learn_from() -> None:
    _, x, small = once("chain", sparsity=0.6)
    back = {"body.4": small.ledger.removed()["body.4"][:2]}
    one, two, same = (
        regrow(small.model, small.ledger, channels=back, weights="fresh", seed=s).model
        for s in (0, 1, 0)
    )
    rows = [
        regrow(small.model, small.ledger, channels=back).ledger.ids()["body.4"].index(i)
        for i in back["body.4"]
    ]
    incoming = one.body[4].weight[rows]
    spread = small.model.body[4].weight.std()
    assert 0.3 < float(incoming.detach().std() / spread.detach()) < 3
    assert not torch.equal(incoming, two.body[4].weight[rows])
    assert torch.equal(incoming, same.body[4].weight[rows])
    norm = one.body[5]
    assert norm.weight[rows].tolist() == [1.0, 1.0]
    assert norm.bias[rows].tolist() == [0.0, 0.0]
    features = torch.tensor([[4 * r + i for i in range(4)] for r in rows]).flatten()
    assert not one.body[10].weight[:, features].any()
    one.train()
    mg.reset(one)
    one(x).square().sum().backward()
    assert one.body[10].weight.grad[:, features].any(), "what goes out must be able to learn"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fresh_weights_are_not_those_that_the_network_was_drawn_from(seed: int) -> None:
    _, _, small = once("chain", sparsity=0.6)
    back = {"body.4": small.ledger.removed()["body.4"]}
    grown = regrow(small.model, small.ledger, channels=back, weights="fresh", seed=seed)
    rows = [grown.ledger.ids()["body.4"].index(i) for i in back["body.4"]]
    fresh = grown.model.get_submodule("body.4").weight.detach()[rows].flatten()
    drawn = torch.randn(fresh.shape, generator=torch.Generator().manual_seed(seed))
    assert abs(float(torch.corrcoef(torch.stack([fresh, drawn]))[0, 1])) < 0.35


def test_fresh_channels_of_a_transposed_convolution_can_learn() -> None:
    small = once("decoder", sparsity=0.5)[2]
    layer = "body.up"
    back = {layer: small.ledger.removed()[layer][:2]}
    grown = regrow(small.model, small.ledger, channels=back, weights="fresh")
    rows = [grown.ledger.ids()[layer].index(i) for i in back[layer]]
    assert grown.model.get_submodule(layer).weight[:, rows].detach().std() > 0


def test_weights_learned_since_the_cut_stay() -> None:
    _, x, small = once("chain", sparsity=0.5)
    with torch.no_grad():
        for p in small.model.parameters():
            p.add_(0.01)
    back = {"body.0": small.ledger.removed()["body.0"][:1]}
    grown = regrow(small.model, small.ledger, channels=back)
    row = grown.ledger.ids()["body.0"].index(back["body.0"][0])
    others = [i for i in range(grown.model.body[0].out_channels) if i != row]
    assert torch.equal(grown.model.body[0].weight[others], small.model.body[0].weight)
    assert torch.equal(grown.model.body[4].weight[:, others], small.model.body[4].weight)
    run(grown.model, x)


def test_removing_again_what_came_back() -> None:
    _, x, small = once("pre-activation", sparsity=0.5)
    back = {n: ids[:1] for n, ids in small.ledger.removed().items() if ids}
    grown = regrow(small.model, small.ledger, channels=back)
    structure = mg.analyse(grown.model, x)
    position = {n: grown.ledger.ids()[n].index(ids[0]) for n, ids in back.items()}
    keep = structure.everything()
    for name, i in position.items():
        keep[name][i] = False
    Gates(grown.model, structure).set(keep)
    again = compact(grown.model, structure, keep, example_input=x, ledger=grown.ledger)
    assert zoo.same(again.model.state_dict(), small.model.state_dict())
    assert again.ledger.ids() == small.ledger.ids()


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"nowhere": [0]}, "no group 'nowhere'"),
        ({"body.0": [99]}, "channel 99 can't be regrown"),
        ({"body.0": [-1]}, "channel -1 can't be regrown"),
        ({"body.0": "kept"}, "can't be regrown; removed are"),
    ],
)
def test_what_was_never_removed_cannot_come_back(channels: Any, message: str) -> None:
    _, _, small = once("chain", sparsity=0.5)
    if channels == {"body.0": "kept"}:
        channels = {"body.0": small.ledger.ids()["body.0"][:1]}
    with pytest.raises(mg.ConfigError, match=message):
        regrow(small.model, small.ledger, channels=channels)


def test_an_unknown_kind_of_weights_is_refused() -> None:
    _, _, small = once("chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match=r"remembered.*fresh"):
        regrow(small.model, small.ledger, channels={}, weights="stale")  # type: ignore[arg-type]


def test_a_pruner_after_another_keeps_the_first_ids() -> None:
    """First the convolutions, then the linear layers too: one ledger tells it all."""
    model, x = zoo.make("chain", T=4)
    dense, _ = zoo.make("chain", T=4)
    first = mg.Magnitude(model, sparsity=0.5, example_input=x)
    first.calibrate()
    small = first.compact()
    second = mg.Magnitude(
        small.model, sparsity=0.4, example_input=x, linear=True, ledger=small.ledger
    )
    second.calibrate()
    smaller = second.compact()
    kept = smaller.ledger.ids()
    assert set(kept) == {"body.0", "body.4", "body.10"}
    assert sum(map(len, kept.values())) == sum(second.kept().values())
    conv = tensor_at(smaller.model, "body.0.weight")
    assert torch.equal(conv, tensor_at(dense, "body.0.weight")[kept["body.0"]])
    linear = tensor_at(smaller.model, "body.10.bias")
    assert torch.equal(linear, tensor_at(dense, "body.10.bias")[kept["body.10"]])
    grown = regrow(smaller.model, smaller.ledger, channels=smaller.ledger.removed())
    assert zoo.same(grown.model.state_dict(), dense.state_dict())


def some_back(ledger: Ledger, seed: int) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """About half of what was removed: (mask of what is there then, ids that come back)."""
    g = torch.Generator().manual_seed(seed)
    wider, back = {}, {}
    for name, ids in ledger.removed().items():
        picked = [i for i in ids if torch.rand((), generator=g) < 0.5] or ids[:1]
        wider[name] = ledger.keep[name].clone()
        wider[name][picked] = True
        back[name] = picked
    return wider, back


def handle(model: nn.Module, structure: Structure) -> Gates:
    gates = Gates.__new__(Gates)
    gates.model, gates.structure = model, structure
    return gates
