"""SBC: Hessians by hand, brain surgery by brute force, LAMP's amounts, and what it gains."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from test_contract import Loop
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.frameworks import neuron_kind
from microglia.methods import SBC
from microglia.methods.parts import obs
from microglia.methods.parts.hessian import SpikeHessian, as_rows, from_rows, patches


def hessians(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    structure = mg.analyse(model, x)
    names = [n for n, w in model.named_parameters() if w.dim() > 1]
    seen = SpikeHessian(model, structure, names)
    model.eval()
    with torch.no_grad():
        for batch in (x, x.flip(-1) * 1.2):
            mg.reset(model)
            model(batch)
            seen.close()
    mg.reset(model)
    seen.remove()
    return seen.mean()


def leak(steps: int, decay: float) -> Tensor:
    """M without its factor."""
    return torch.tensor(
        [[decay ** (i - j) if i >= j else 0.0 for j in range(steps)] for i in range(steps)],
        dtype=torch.float64,
    )


def by_hand(inputs: list[Tensor], decay: float) -> Tensor:
    """E[2 (MX)ᵀ (MX)] of a 3x3 convolution with padding 1, on inputs [T, N, C, H, W]."""
    total, count = 0.0, 0
    for x in inputs:
        seen = torch.stack([nn.functional.unfold(step, 3, padding=1) for step in x]).double()
        held = torch.einsum("ts,sndl->tndl", leak(len(x), decay), seen)
        rows = held.movedim(2, -1).reshape(-1, seen.shape[2])
        total, count = total + 2 * rows.T @ rows, count + len(rows)
    return total / count


@pytest.mark.parametrize("name", ["chain", "chain, single-step"])
def test_the_hessian_is_that_of_the_leaky_membrane(name: str) -> None:
    model, x = zoo.make(name, T=4)
    seen: list[Tensor] = []
    layer = model.get_submodule("body.4")
    hook = layer.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    found = hessians(model, x)
    hook.remove()
    calls = seen[-2:] if name == "chain" else [torch.stack(seen[-8:-4]), torch.stack(seen[-4:])]
    assert calls[0].shape[:2] == (4, 2)
    assert torch.allclose(found["body.4.weight"][0], by_hand(calls, 0.5), rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found["body.4.weight"][0], by_hand(calls, 0.0), rtol=1e-2)
    assert set(found) == {f"body.{i}.weight" for i in (0, 4, 10, 12)}


class Flattened(nn.Module):
    """Time and batch are one axis in the convolution, two in the neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.node = nn.Conv2d(2, 6, 3, padding=1), neuron.IFNode(step_mode="m")
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.node(functional.seq_to_ann_forward(x, self.conv)).mean((-1, -2)))


def test_time_is_found_where_the_layer_sees_it_folded_into_the_batch() -> None:
    x = torch.rand(3, 4, 2, 5, 5)
    found = hessians(Flattened(), x)["conv.weight"][0]
    assert torch.allclose(found, by_hand([x, x.flip(-1) * 1.2], 1.0), rtol=1e-5)


def test_what_neurons_keep_of_their_potential() -> None:
    from microglia.networks import build

    def decays(model: nn.Module) -> list[float | None]:
        kinds = [(m, neuron_kind(m)) for m in model.modules()]
        return [kind.decay(m) for m, kind in kinds if kind is not None]

    assert decays(neuron.IFNode()) == decays(neuron.IFNode(v_reset=None)) == [1.0]
    assert decays(neuron.LIFNode(tau=4.0)) == [0.75]
    assert decays(neuron.ParametricLIFNode(init_tau=4.0)) == [pytest.approx(0.75)]
    assert decays(neuron.QIFNode()) == [None]
    assert decays(zoo.MyNeuron()) == [None]
    assert decays(build("digits", classes=10, channels=1, T=2, neuron="alif")) == [0.5] * 3
    lif1, lif2, lif3, lif4 = decays(zoo.make("snnTorch")[0])
    beta = zoo.make("snnTorch")[0].lif1.beta
    assert (lif1, lif2) == (pytest.approx(float(beta.mean())), None)
    assert (lif3, lif4) == (pytest.approx(0.9), pytest.approx(0.9))


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(7, 4, bias=False), (3, 5, 7)),
    "padded": (nn.Conv2d(3, 4, 3, padding=1, bias=False), (2, 3, 6, 6)),
    "strided, dilated": (nn.Conv2d(3, 4, (2, 3), 2, 1, 2, bias=False), (2, 3, 9, 9)),
    "same, circular": (
        nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular", bias=False),
        (2, 3, 6, 6),
    ),
    "groups": (nn.Conv2d(6, 8, 3, groups=2, bias=False), (2, 6, 6, 6)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6, bias=False), (2, 6, 6, 6)),
    "one dimension": (nn.Conv1d(3, 4, 5, padding=2, bias=False), (2, 3, 9)),
    "three": (nn.Conv3d(2, 3, 2, bias=False), (2, 2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, bias=False), (2, 3, 5, 5)),
    "transposed, groups": (nn.ConvTranspose2d(6, 4, 2, 2, groups=2, bias=False), (2, 6, 5, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_rows_times_what_they_see(name: str) -> None:
    layer, shape = LAYERS[name]
    x = torch.rand(shape)
    with torch.no_grad():
        rows = as_rows(layer, layer.weight)
        out = torch.einsum("ngd,god->ngo", patches(layer, x), rows).flatten(1)
        expected = layer(x)
        if not isinstance(layer, nn.Linear):
            expected = expected.movedim(1, -1)
        assert torch.allclose(out, expected.reshape(out.shape), atol=1e-5)
        assert torch.equal(from_rows(layer, rows, layer.weight.shape), layer.weight)


def problem(d: int, seed: int) -> tuple[Tensor, Tensor]:
    """A row of weights and a Hessian of inputs that go together."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(40, d, generator=g, dtype=torch.float64) @ torch.randn(
        d, d, generator=g, dtype=torch.float64
    )
    h = obs.damped(2 * (x.T @ x)[None] / 40, 0.01)[0]
    return torch.randn(d, generator=g, dtype=torch.float64), h


def least_squares(w: Tensor, h: Tensor, support: list[int]) -> tuple[Tensor, float]:
    """The nearest row on this support, by least squares on a root of H, and its loss / 2."""
    root = torch.linalg.cholesky(h).T
    best = torch.zeros_like(w)
    if support:
        best[support] = torch.linalg.lstsq(root[:, support], root @ w[:, None]).solution[:, 0]
    return best, float((root @ (best - w)).square().sum())


@pytest.mark.parametrize("seed", range(4))
def test_weights_go_in_the_order_of_least_loss_and_the_others_make_up_for_it(seed: int) -> None:
    w, h = problem(7, seed)
    support, costs, order = list(range(7)), [0.0], []
    while support:
        trials = {j: least_squares(w, h, [i for i in support if i != j])[1] for j in support}
        order.append(min(trials, key=trials.__getitem__))
        support.remove(order[-1])
        costs.append(trials[order[-1]])
        keep = torch.tensor([[i in support for i in range(7)]])
        found = obs.compensated(w[None], h, keep)[0]
        assert torch.allclose(found, least_squares(w, h, support)[0], atol=1e-8)
    score = obs.losses(w[None], h, rounds=99)[0]
    steps = [after - before for before, after in pairwise(costs)]
    expected = [max(steps[: i + 1]) for i in range(7)]
    assert score.argsort().tolist() == order
    assert score[order].tolist() == pytest.approx(expected, rel=1e-6)


def test_rows_are_independent_and_rounds_cost_little() -> None:
    h = problem(30, 0)[1]
    w = torch.stack([problem(30, s)[0] for s in range(5)])
    together = obs.losses(w, h, rounds=99)
    assert torch.allclose(together[3], obs.losses(w[3:4], h, rounds=99)[0])
    loss = {}
    for rounds in (1, 10, 99):
        order = obs.losses(w, h, rounds=rounds).argsort(1)
        assert all(row.unique().numel() == 30 for row in order)
        keep = torch.ones_like(w, dtype=torch.bool).scatter_(1, order[:, :20], False)
        change = obs.compensated(w, h, keep) - w
        loss[rounds] = float((change @ h * change).sum())
    assert loss[99] <= loss[10] * 1.05
    assert loss[10] < loss[1]


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("layer", ["body.0", "body.4", "body.10"])
def test_one_layer_changes_its_potential_less_than_magnitude_would(
    layer: str, sparsity: float
) -> None:
    name = f"{layer}.weight"
    loop = Loop(SBC, "chain", sparsity={name: sparsity})
    before = loop.pruner.masks.weights[name].detach().clone()
    h = obs.damped(hessian_of(loop, name), 0.01)[0]
    loop.pruner.calibrate([loop.x])
    module = loop.model.get_submodule(layer)
    w, found = (as_rows(module, v.double())[0] for v in (before, module.weight.detach()))
    keep = as_rows(module, loop.pruner.masks.mask(name))[0]
    by_size = (w.abs() >= w.abs().flatten().topk(int(keep.sum())).values[-1]) * w

    def loss(rows: Tensor) -> float:
        return float(((rows - w) @ h * (rows - w)).sum())

    assert loss(found) < 0.8 * loss(by_size)
    assert loss(found) < loss(w * keep)
    for row, stays, best in zip(w, keep, found, strict=True):
        support = stays.nonzero().flatten().tolist()
        assert torch.allclose(best, least_squares(row, h, support)[0], atol=1e-5)


def hessian_of(loop: Loop, name: str) -> Tensor:
    """H of one weight on the loop's batch."""
    seen = SpikeHessian(loop.model, loop.pruner.structure, [name])
    loop.model.eval()
    with torch.no_grad():
        loop.logits(loop.model)
    loop.model.train()
    seen.close()
    seen.remove()
    mg.reset(loop.model)
    return seen.mean()[name]


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_layers_lose_what_lamp_says(sparsity: float) -> None:
    loop = Loop(SBC, "chain", sparsity=sparsity)
    lamp = []
    for name, weight in loop.pruner.masks.weights.items():
        squares = weight.detach().double().flatten().square()
        for u in squares:
            lamp.append((float(u / squares[squares >= u].sum()), name))
    lamp.sort(reverse=True)
    left = len(lamp) - round(sparsity * len(lamp))
    loop.pruner.calibrate([loop.x])
    for name, kept in loop.pruner.kept().items():
        assert kept == sum(n == name for _, n in lamp[:left])


def test_a_channel_that_its_norm_amplifies_keeps_more_of_its_weights() -> None:
    kept = []
    for gamma in (1.0, 10.0):
        loop = Loop(SBC, "chain", sparsity={"body.4.weight": 0.7})
        with torch.no_grad():
            loop.model.get_submodule("body.5").weight[0] = gamma
        loop.pruner.calibrate([loop.x])
        kept.append(int(loop.pruner.masks.mask("body.4.weight")[0].sum()))
    assert kept[1] > kept[0]


@pytest.mark.parametrize("name", sorted(zoo.SMALL))
def test_every_network_can_be_calibrated(name: str) -> None:
    model, x = zoo.make(name)
    hooks = sum(len(m._forward_pre_hooks) for m in model.modules())
    pruner = mg.SBC(model, example_input=x, sparsity=0.6, rounds=8)
    pruner.calibrate([x])
    assert sum(len(m._forward_pre_hooks) for m in model.modules()) == hooks
    for weight in pruner.masks.weights.values():
        assert weight.isfinite().all()
    assert abs(pruner.sparsity_reached - 0.6) < 0.01


def test_it_looks_at_no_more_samples_than_it_needs() -> None:
    loop = Loop(SBC, "chain", sparsity=0.5, samples=15)
    drawn: list[int] = []

    def batches() -> Any:
        for i in range(9):
            drawn.append(i)
            yield loop.x

    loop.pruner.calibrate(batches())
    assert drawn == [0, 1, 2]  # of six each


def test_what_it_refuses() -> None:
    for bad in ({"damping": 0.0}, {"samples": 0}, {"rounds": 0}, {"rounds": None}):
        with pytest.raises(mg.ConfigError, match=next(iter(bad))):
            Loop(SBC, "chain", sparsity=0.5, **bad)
    with pytest.raises(mg.ConfigError, match="no batch"):
        Loop(SBC, "chain", sparsity=0.5).pruner.calibrate([])
