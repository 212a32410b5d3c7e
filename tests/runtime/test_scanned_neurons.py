"""Scanned neurons spike as SpikingJelly's do, to the bit, and overwrite nothing that is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from comparing import outputs, reference
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn

import microglia as mg
from microglia.runtime import accelerate

RESETS = {"hard": (0.0, 1.0), "hard, elsewhere": (-0.3, 0.7), "soft": (None, 0.7)}
"""Name -> reset potential and threshold."""


def _nodes() -> Iterator[Any]:
    for (reset, (v_reset, threshold)), mode in product(RESETS.items(), "ms"):
        common = {"v_reset": v_reset, "step_mode": mode, "v_threshold": threshold}
        about = f"{reset}, {mode}"
        yield pytest.param(lambda c=common: neuron.IFNode(**c), id=f"IF, {about}")
        for decay in (True, False):
            yield pytest.param(
                lambda c=common, d=decay: neuron.LIFNode(tau=2.3, decay_input=d, **c),
                id=f"LIF, decay_input={decay}, {about}",
            )
            yield pytest.param(
                lambda c=common, d=decay: neuron.ParametricLIFNode(
                    init_tau=1.7, decay_input=d, **c
                ),
                id=f"PLIF, decay_input={decay}, {about}",
            )


NODES = list(_nodes())

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "repeated": lambda x: x[:1].expand(len(x), -1, -1, -1, -1),
    "every other": lambda x: torch.cat([x, x], 1)[:, ::2],
}


def currents(seed: int, dtype: torch.dtype) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, 4, 6, 6, generator=g, dtype=dtype) * 1.5
    return torch.where(x > 2, 1.0, x)  # some reach the threshold exactly


def run(node: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        if node.step_mode == "m":
            return node(x)
        return torch.stack([node(x_t) for x_t in x])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", NODES)
def test_spikes_and_states_are_bit_equal(
    make: Callable[[], nn.Module], layout: str, dtype: torch.dtype
) -> None:
    slow = make().to(dtype).eval()
    fast = accelerate(slow)
    assert type(fast) is not type(slow)
    for call in range(3):
        x = LAYOUTS[layout](currents(call, dtype))
        given = x.clone()
        a, b = run(slow, x), run(fast, x)
        assert a.any()
        assert torch.equal(a, b)
        assert torch.equal(slow.v, fast.v)
        assert torch.equal(x, given)  # without an example nothing is overwritten
        if call == 1:
            mg.reset(slow)
            mg.reset(fast)


@pytest.mark.parametrize("start", [0.4, torch.full((3, 4, 6, 6), 0.4)])
@pytest.mark.parametrize("make", NODES)
def test_a_state_that_the_user_sets(make: Callable[[], nn.Module], start: Any) -> None:
    slow = make().eval()
    fast = accelerate(slow)
    slow.v, fast.v = start, start
    x = currents(0, torch.float32)
    assert torch.equal(run(slow, x), run(fast, x))
    assert torch.equal(slow.v, fast.v)


@pytest.mark.parametrize("make", NODES)
def test_a_state_that_somebody_keeps_is_not_changed(make: Callable[[], nn.Module]) -> None:
    fast = accelerate(make())
    x = currents(0, torch.float32)
    run(fast, x)
    kept = fast.v
    value = kept.clone()
    run(fast, x)
    assert torch.equal(kept, value)


def test_traces_are_spikingjellys_own() -> None:
    slow = neuron.LIFNode(step_mode="m", store_v_seq=True)
    fast = accelerate(slow)
    for node in (slow, fast):
        run(node, currents(0, torch.float32))
    assert torch.equal(slow.v_seq, fast.v_seq)


class Slower(neuron.IFNode):
    """A user's own neuron on top of SpikingJelly's."""

    def multi_step_forward(self, x: Tensor) -> Tensor:
        return super().multi_step_forward(0.5 * x)


@pytest.mark.parametrize(
    "node",
    [
        Slower(step_mode="m"),
        neuron.QIFNode(step_mode="m"),
        neuron.IFNode(surrogate_function=surrogate.Sigmoid(spiking=False), step_mode="m"),
        neuron.LIFNode(surrogate_function=surrogate.PoissonPass(), step_mode="m"),
    ],
)
def test_other_neurons_are_left_alone(node: nn.Module) -> None:
    assert type(accelerate(node)) is type(node)


class Watched(nn.Module):
    """A convolution, its current, and neurons; subclasses look at the current after them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layer.Conv2d(2, 6, 3, padding=1, step_mode="m")
        self.norm = layer.BatchNorm2d(6, step_mode="m")
        self.a = neuron.IFNode(step_mode="m")
        self.b = neuron.LIFNode(step_mode="m")

    def forward(self, x: Tensor) -> Any:
        return self.a(self.norm(self.conv(x)))


class AddsCurrent(Watched):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.a(y) + y


class AddsViewOfCurrent(Watched):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        peek = y[:, :1, 2:]
        return self.a(y)[:, :1, 2:] + peek


class TwoNeurons(Watched):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.a(y) + self.b(y)


class ReturnsCurrent(Watched):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(self.conv(x))
        return self.a(y), y


class KeepsCurrent(Watched):
    def forward(self, x: Tensor) -> Tensor:
        before = getattr(self, "current", x.new_zeros(()))
        self.current = self.norm(self.conv(x))
        return self.a(self.current) + before


class NeuronOfInput(Watched):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.a(x)) + x.sum()


class TwiceTheSameNeuron(Watched):
    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.a(y) + self.a(y)


class Broadcast(Watched):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.norm(self.conv(x[:1])).expand(4, -1, -1, -1, -1))


class HalvesOfCurrent(Watched):
    def forward(self, x: Tensor) -> Tensor:
        first, second = self.norm(self.conv(x)).chunk(2, 2)
        return self.a(first) + self.b(second)


class ReadsThroughCopy(Watched):
    """The example makes a copy here, but not where channels stand last."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.a(y.permute(0, 1, 3, 4, 2).contiguous()) + y.permute(0, 1, 3, 4, 2)


class ReadsThroughReshape(Watched):
    """The example of several samples makes a copy here, a single sample does not."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).transpose(0, 1)
        return self.a(y.reshape(1, -1, 6, 5, 5)) + y.reshape(1, -1, 6, 5, 5)


class ReadsThroughPool(Watched):
    def __init__(self) -> None:
        super().__init__()
        self.pool = layer.MaxPool2d(1, 2, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return self.a(self.pool(y)) + y[..., ::2, ::2]


class SlidingWindows(Watched):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(self.norm(self.conv(x)).unfold(-1, 3, 1))


LOOKERS = [
    ReadsThroughCopy,
    ReadsThroughReshape,
    ReadsThroughPool,
    SlidingWindows,
    Watched,
    AddsCurrent,
    AddsViewOfCurrent,
    TwoNeurons,
    ReturnsCurrent,
    KeepsCurrent,
    NeuronOfInput,
    TwiceTheSameNeuron,
    Broadcast,
    HalvesOfCurrent,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("build", LOOKERS)
def test_a_current_that_somebody_reads_is_not_overwritten(
    build: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    """Quarters add up exactly in any order, so float32, whose layout is another, is bit-equal."""
    torch.manual_seed(0)
    model = build().to(dtype)
    x = (torch.rand(4, 2, 2, 5, 5, dtype=dtype) * 8).round() / 4
    if dtype == torch.float64:
        nn.init.uniform_(model.norm.bias, 0.2, 0.9)
    else:
        model.norm = nn.Identity()
        with torch.no_grad():
            for p in model.conv.parameters():
                p.copy_((p * 8).round() / 4)
    given = x.clone()
    for example, later in ((x, x[:, :1]), (x[:, :1], x)):
        slow, fast = reference(model), accelerate(model, example_input=example)
        for _ in range(2):
            expected = outputs(slow, later)
            assert expected[0].any()
            for a, b in zip(expected, outputs(fast, later), strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
            assert torch.equal(x, given)


def test_a_current_that_nobody_reads_is_overwritten() -> None:
    fast = accelerate(Watched(), example_input=torch.rand(4, 2, 2, 5, 5))
    current = []
    fast.norm.register_forward_hook(lambda m, args, y: current.append(y))
    spikes = fast(torch.rand(4, 2, 2, 5, 5))
    assert spikes.data_ptr() == current[0].data_ptr()


def test_a_hook_on_the_neuron_sees_current_and_spikes() -> None:
    torch.manual_seed(0)
    model = Watched().double()
    nn.init.uniform_(model.norm.bias, 0.2, 0.9)
    x = torch.rand(4, 2, 2, 5, 5, dtype=torch.float64)
    fast = accelerate(model, example_input=x)
    seen = []
    for network in (reference(model), fast):
        network.a.register_forward_hook(lambda m, args, y: seen.append((args[0].clone(), y)))
        outputs(network, x)
    (current, spikes), (fast_current, fast_spikes) = seen
    torch.testing.assert_close(current, fast_current, rtol=0, atol=1e-10)
    assert torch.equal(spikes, fast_spikes)
