"""A scanned neuron learns as SpikingJelly's does: equal spikes and states, and its gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext, suppress
from itertools import product
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from test_scanned_neurons import LAYOUTS, RESETS, currents
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.runtime import accelerated_training
from microglia.runtime.spikingjelly import scanned_neurons
from microglia.surgery import cut

SURROGATES = ["Sigmoid", "ATan", "Erf", "PiecewiseQuadratic", "SoftSign"]


def _nodes() -> dict[str, Callable[..., nn.Module]]:
    nodes: dict[str, Callable[..., nn.Module]] = {"IF": neuron.IFNode}
    for decay in (True, False):
        nodes[f"LIF, decay_input={decay}"] = lambda d=decay, **c: neuron.LIFNode(
            tau=2.3, decay_input=d, **c
        )
        nodes[f"PLIF, decay_input={decay}"] = lambda d=decay, **c: neuron.ParametricLIFNode(
            init_tau=1.7, decay_input=d, **c
        )
    return nodes


NODES = _nodes()
LEARNING = [name for name in NODES if name != "PLIF, decay_input=False"]  # SpikingJelly's own way
CASES = [
    *product(LEARNING, RESETS, "ms", (True, False), ["Sigmoid"], ["contiguous"]),
    *product(["LIF, decay_input=True"], ["hard, elsewhere", "soft"], "m", (True, False), SURROGATES,
             ["contiguous"]),
    *product(["IF", "PLIF, decay_input=True"], ["hard"], "m", [True], ["Sigmoid"], LAYOUTS),
]  # fmt: skip


def learn(node: nn.Module, x: Tensor, start: Tensor) -> list[Tensor]:
    """Two calls without a reset between them, so that the state carries a gradient too."""
    x, start = x.detach().requires_grad_(), start.detach().requires_grad_()
    node.v = start
    halves = []
    for part in x.tensor_split(2):
        if node.step_mode == "m":
            halves.append(node(part))
        else:
            halves.append(torch.stack([node(x_t) for x_t in part]))
    spikes = torch.cat(halves)
    g = torch.Generator().manual_seed(1)
    weight = torch.randn(spikes.shape, generator=g, dtype=x.dtype)
    loss = (spikes * weight).sum() + node.v.square().sum()
    wanted = [x, start, *node.parameters()]
    return [spikes.detach(), node.v.detach(), *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize(("name", "reset", "mode", "detached", "slope", "layout"), CASES)
def test_gradients_are_spikingjellys(
    name: str, reset: str, mode: str, detached: bool, slope: str, layout: str
) -> None:
    v_reset, threshold = RESETS[reset]
    node = NODES[name](
        v_reset=v_reset,
        v_threshold=threshold,
        step_mode=mode,
        detach_reset=detached,
        surrogate_function=getattr(surrogate, slope)(),
    ).double()
    x = LAYOUTS[layout](currents(0, torch.float64))
    start = torch.rand(x.shape[1:], dtype=torch.float64) - 0.2
    expected = learn(copy.deepcopy(node), x, start)
    with scanned_neurons(node):
        assert type(node) is not type(node).scans
        got = learn(node, x, start)
    assert expected[0].any()
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    for a, b in zip(got[2:], expected[2:], strict=True):
        assert b.any()
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_agree_in_lower_precision(dtype: torch.dtype) -> None:
    node = neuron.LIFNode(step_mode="m", detach_reset=True)
    x = currents(0, torch.float32).to(dtype)
    start = torch.zeros_like(x[0])
    expected = learn(copy.deepcopy(node), x, start)
    with scanned_neurons(node):
        got = learn(node, x, start)
    assert torch.equal(got[0], expected[0])
    error = (got[2].double() - expected[2].double()).abs().max()
    assert error < 20 * torch.finfo(dtype).eps * expected[2].abs().max()


@pytest.mark.parametrize(
    "name", ["chain", "adaptive pooling, PLIF", "pre-activation", "SEW-ResNet"]
)
@pytest.mark.parametrize("seed", range(2))
def test_a_network_gets_the_same_gradients(name: str, seed: int) -> None:
    model, x = zoo.make(name, T=3, seed=seed)
    model, x = zoo.double(model).train(), x.double()
    other = copy.deepcopy(model)

    def gradients(net: nn.Module) -> dict[str, Any]:
        torch.manual_seed(seed)  # dropout
        net(x).square().sum().backward()
        return {n: p.grad for n, p in net.named_parameters() if p.grad is not None}

    expected = gradients(other)
    with scanned_neurons(model):
        got = gradients(model)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert torch.allclose(got[key], value, rtol=1e-7, atol=1e-9 * float(value.abs().max()))


@pytest.mark.parametrize("name", ["chain", "adaptive pooling, PLIF", "decoder"])
def test_afterwards_the_network_is_as_it_was(name: str) -> None:
    model, _ = zoo.make(name)
    before = zoo.snapshot(model)
    with suppress(KeyError), scanned_neurons(model):
        assert name == "decoder" or not zoo.same(zoo.snapshot(model), before)
        raise KeyError
    assert zoo.same(zoo.snapshot(model), before)


def test_scores_of_a_scanned_neuron_are_its_own() -> None:
    scores = []
    for scanned in (False, True):
        model, x = zoo.make("chain", T=3)
        pruner = mg.SCA(model.train(), example_input=x, sparsity=0.5, every=1, samples=None)
        if scanned:
            with scanned_neurons(model):
                model(x)
        else:
            model(x)
        scores.append(pruner._parts["score"].mean())
    for group, score in scores[0].items():
        assert score.any()
        assert torch.equal(score, scores[1][group])


@pytest.mark.parametrize("name", ["chain", "concatenation, groups", "snnTorch", "functional"])
def test_accelerated_training_gives_the_same_gradients(name: str) -> None:
    model, x = zoo.make(name, T=3)
    model, x = zoo.double(model).eval(), x.double()
    gradients = []
    for fast in (False, True):
        mg.reset(model)
        model.zero_grad()
        with accelerated_training(model, example_input=x) if fast else nullcontext():
            output = model(x)
            (output[1] if isinstance(output, tuple) else output).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert gradients[0]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9 * float(a.abs().max()))


def test_a_start_at_rest_has_its_own_precision() -> None:
    """0.1 isn't a float32: rounded on the way it would cost the rate's gradient nine digits."""
    gradients = []
    for scanned in (False, True):
        node = neuron.ParametricLIFNode(init_tau=1.7, v_reset=0.1, step_mode="m").double()
        with scanned_neurons(node) if scanned else nullcontext():
            node(currents(0, torch.float64)).square().sum().backward()
        gradients.append(node.w.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-13)


def test_a_network_that_is_cut_inside_the_block_has_its_own_neurons() -> None:
    model, x = zoo.make("chain")
    structure = mg.analyse(model, x)
    with scanned_neurons(model):
        small, _ = cut(model, structure, {})
    assert [type(m) for m in small.modules()] == [type(m) for m in model.modules()]


def test_channels_come_first_again() -> None:
    model, x = zoo.make("chain")
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    before = [m.weight for m in convolutions]
    with accelerated_training(model, example_input=x):
        assert not any(m.weight.is_contiguous() for m in convolutions)
    assert all(m.weight.is_contiguous() for m in convolutions)
    assert all(a is m.weight for a, m in zip(before, convolutions, strict=True))


def test_a_network_that_wants_channels_first_gets_them() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.node = nn.Conv2d(3, 4, 3), neuron.LIFNode()
            self.fc = nn.Linear(4 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.node(self.conv(x)).view(len(x), -1))

    model, x = Views(), torch.rand(2, 3, 8, 8)
    with accelerated_training(model, example_input=x):
        model(x).sum().backward()
        assert model.conv.weight.is_contiguous()
