"""An accelerated network computes what the network computes, whoever wrote it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from comparing import flips, in_float64, norms, outputs, reference, spikes
from torch import Tensor, nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.networks import build
from microglia.runtime import accelerate
from zoo import CASES, NETWORKS, make, same, snapshot


def batches(name: str, x: Tensor) -> list[Tensor]:
    """The input, another of the same shape, and one with a larger batch."""
    axis = 1 if CASES[name].time_first else 0
    return [x, torch.rand_like(x) + 0.2, torch.cat([x, torch.rand_like(x)], axis)]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", NETWORKS)
def test_spikes_are_identical_in_float64(name: str, seed: int) -> None:
    model, x = make(name, seed=seed)
    model, x = in_float64(model), x.double()
    slow, fast = reference(model), accelerate(model, example_input=x)
    for y in batches(name, x):
        mg.reset(slow)
        mg.reset(fast)
        expected = spikes(slow, y)
        assert flips(expected, spikes(fast, y))[0] == 0
        assert any(s.any() for calls in expected.values() for s in calls)


@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_agree_call_after_call(name: str, example: bool) -> None:
    """States stay between calls and are cleared by `reset`, as the network's own."""
    model, x = make(name)
    model, x = in_float64(model), x.double()
    slow, fast = reference(model), accelerate(model, example_input=x if example else None)
    first, second, larger = batches(name, x)
    for y, start_anew in [(first, True), (second, False), (first, False), (larger, True)]:
        if start_anew:
            mg.reset(slow)
            mg.reset(fast)
        for a, b in zip(outputs(slow, y), outputs(fast, y), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_bit_equal_where_nothing_is_folded(name: str) -> None:
    model, x = make(name)
    slow, fast = reference(model), accelerate(model)
    assert norms(slow) == norms(fast)
    for y in batches(name, x)[:2]:
        assert all(map(torch.equal, outputs(slow, y), outputs(fast, y)))


@pytest.mark.parametrize("name", ["vgg16", "conv5", "preresnet20"])
def test_folding_flips_few_spikes_in_float32(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    model = build(name, classes=10, channels=3, T=4, width=1 / 8)
    for norm in model.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(norm.bias, 0.2, 0.9)  # untrained they would be silent
    x = torch.rand(4, 3, 32, 32)
    slow, fast = reference(model), accelerate(model, example_input=x[:1])
    differing, total = flips(spikes(slow, x), spikes(fast, x))
    record_property("flips", f"{differing} of {total}")
    assert differing <= total / 100


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_left_as_it_was(name: str) -> None:
    model, x = make(name)
    model.train()
    model(x)  # its neurons hold states of a graph
    before = snapshot(model)
    fast = accelerate(model, example_input=x)
    outputs(fast, x)
    assert same(before, snapshot(model))
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    assert not own & {id(t) for t in (*fast.parameters(), *fast.buffers())}


@pytest.mark.parametrize("name", ["chain", "pre-activation", "snnTorch, hidden inside"])
def test_it_starts_in_the_state_of_the_network(name: str) -> None:
    model, x = make(name)
    model, x = in_float64(model).eval(), x.double()
    outputs(model, x)
    fast, slow = accelerate(model, example_input=x), reference(model)
    for a, b in zip(outputs(slow, x), outputs(fast, x), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_it_only_infers() -> None:
    model, x = make("chain")
    fast = accelerate(model.train(), example_input=x)
    assert not any(m.training for m in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    assert not fast(x).requires_grad


@pytest.mark.parametrize("name", ["chain", "pre-activation", "chain, single-step"])
def test_copies_and_every_grad_mode_agree(name: str) -> None:
    model, x = make(name)
    fast = accelerate(model, example_input=x)
    expected = outputs(fast, x)[0]
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        mg.reset(other)
        with torch.inference_mode():
            assert torch.equal(other(x), expected)
        mg.reset(other)
        assert torch.equal(other(x), expected)
        carried = outputs(other, x)[0]  # from a state that was made with gradients enabled
        mg.reset(other)
        with torch.inference_mode():
            other(x)
        assert torch.equal(outputs(other, x)[0], carried)


def test_wrappers_are_taken_off() -> None:
    model, x = make("chain")
    fast = accelerate(nn.DataParallel(model), example_input=x)
    assert type(fast) is type(model)
    assert norms(fast) == 0


@pytest.mark.parametrize("images_first", [True, False])
def test_an_example_may_be_of_another_length(images_first: bool) -> None:
    """Images are one way through our networks, sequences another; the folds hold for both."""
    model = build("preresnet20", classes=10, channels=3, T=3, width=1 / 4).double()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 3
    sequence = torch.rand(5, 2, 3, 16, 16, dtype=torch.float64) * 3
    example, other = (images, sequence) if images_first else (sequence, images)
    slow, fast = reference(model), accelerate(model, example_input=example)
    assert flips(spikes(slow, other), spikes(fast, other))[0] == 0


def test_a_tuple_is_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = make("chain")[0]

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.body(a) - self.body(b)

    x = make("chain")[1]
    fast = accelerate(Two(), example_input=(x, 0.5 * x))
    assert norms(fast) == 0


def test_a_bad_example_is_named() -> None:
    model, x = make("chain")
    with pytest.raises(ConfigError, match="example_input"):
        accelerate(model, example_input=x[:, :1])


def test_a_network_that_wants_channels_first_gets_them() -> None:
    class Viewed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.out = nn.Linear(8 * 64, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x))
            return self.out(y.view(len(y), -1))

    model, x = Viewed().double(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    fast = accelerate(model, example_input=x)
    assert norms(fast) == 0
    torch.testing.assert_close(fast(x), reference(model)(x), rtol=0, atol=1e-10)


def test_gates_stay_in_force() -> None:
    from microglia.gates import Gates

    model, x = make("chain")
    model, x = model.double(), x.double()
    structure = mg.analyse(model, x)
    gates = Gates(model, structure)
    keep = {g.name: torch.arange(g.size) % 2 == 0 for g in structure.groups}
    gates.set(keep)
    slow, fast = reference(model), accelerate(model, example_input=x)
    torch.testing.assert_close(outputs(slow, x), outputs(fast, x), rtol=0, atol=1e-10)
