"""Laws of the counts on whole networks: time, static images, other layers, refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from brute_force import Count, count
from spiking_networks import PlainLIF, PlainNet, TwoConvs, batches, excite, networks
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from microglia.errors import ConfigError, DataError, StructureError, TrainingError
from microglia.frameworks import reset
from microglia.metrics import Operations, count_operations

COLUMNS = ("macs", "accumulates", "multiply_accumulates", "synops")


def brute_force(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> tuple[Count, int]:
    """The network's operations as it executes them, by loops, and the number of samples."""
    layers: dict[nn.Module, Count] = {}

    def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        x = args[0].detach()
        axes = 2 if isinstance(module, nn.Conv2d) else 0
        found = count_one(module, x.reshape(-1, *x.shape[x.dim() - axes - 1 :]))
        mine = layers.setdefault(module, Count())
        for name, value in vars(found).items():
            setattr(mine, name, getattr(mine, name) + value)

    def count_one(module: nn.Module, x: Tensor) -> Count:
        plain = nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Linear
        twin = plain.__new__(plain)
        twin.__dict__ = {k: v for k, v in vars(module).items() if k != "_forward_hooks"}
        twin._forward_hooks = {}
        return count(twin, x)

    handles = [
        m.register_forward_hook(hook)
        for m in model.modules()
        if isinstance(m, (nn.Conv2d, nn.Linear))
    ]
    model.eval()
    with torch.no_grad():
        for x, _ in data:
            reset(model)
            model(x)
    reset(model)
    for handle in handles:
        handle.remove()
    total = Count()
    for found in layers.values():
        for name, value in vars(found.of_a_layer()).items():
            setattr(total, name, getattr(total, name) + value)
    return total, sum(len(labels) for _, labels in data)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_network_agrees_with_brute_force(seed: int) -> None:
    for model, data, T in networks(seed=seed):
        operations = count_operations(model, data)
        want, samples = brute_force(model, data)
        executed = operations.once if getattr(model, "way", "") == "once" else operations.times_T

        assert operations.T == T
        assert operations.samples == samples
        assert executed.accumulates * samples == want.accumulates
        assert executed.multiply_accumulates * samples == want.multiply_accumulates
        assert executed.accumulates > 0
        assert executed.multiply_accumulates > 0
        assert executed.synops == executed.accumulates + executed.multiply_accumulates


@pytest.mark.parametrize("T", [1, 3, 4])
@pytest.mark.parametrize("pool", [layer.AvgPool2d, layer.MaxPool2d])
def test_a_static_image_costs_the_same_however_the_network_is_written(
    T: int, pool: type[nn.Module]
) -> None:
    data = batches(seed=T, shape=(2, 8, 8))
    multi, single, once = (
        count_operations(excite(TwoConvs(way, T=T, pool=pool), seed=3), data)
        for way in ("multi", "single", "once")
    )
    assert multi == single
    assert multi.layers == once.layers
    assert multi.updates.neurons == once.updates.neurons == (4 * 8 * 8 + 6 * 2 * 2) * T
    assert once.updates.norms == 4 * 8 * 8 + 6 * 2 * 2 * T
    assert once.updates.biases == 4 * 8 * 8 + 3 * T
    assert multi.updates.norms == (4 * 8 * 8 + 6 * 2 * 2) * T

    first, *rest = once.layers
    assert first.repeats == T
    assert all(other.repeats == 1 for other in rest)
    assert once.static_input == (T > 1)
    for column in ("macs", "accumulates", "multiply_accumulates"):
        difference = getattr(once.times_T, column) - getattr(once.once, column)
        assert difference == (T - 1) * getattr(first, column)


@pytest.mark.parametrize("way", ["multi", "single"])
def test_a_sequence_has_one_convention(way: str) -> None:
    T = 3
    sequences = batches(seed=5, sizes=(T * 4,), shape=(2, 8, 8))[0][0].reshape(T, 4, 2, 8, 8)
    operations = count_operations(
        excite(TwoConvs(way, T=T), seed=1), [(sequences, torch.zeros(4).long())]
    )
    assert operations.T == T
    assert not operations.static_input
    assert operations.once == operations.times_T


def test_one_moving_batch_makes_the_input_a_sequence() -> None:
    T = 2
    still = torch.rand(1, 4, 2, 8, 8).expand(T, -1, -1, -1, -1)
    moving = torch.rand(T, 4, 2, 8, 8)
    labels = torch.zeros(4).long()
    model = excite(TwoConvs("multi", T=T), seed=1)
    assert count_operations(model, [(still, labels)]).static_input
    for data in ((still, moving), (moving, still)):
        assert not count_operations(model, [(x, labels) for x in data]).static_input


def test_synapses_and_macs_of_a_known_network() -> None:
    """Borders by hand: a 3x3 kernel on HxW with padding 1 lands (3H - 2)(3W - 2) times."""
    model = TwoConvs("multi", T=2)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    conv1, conv2, fc = count_operations(model, batches(seed=0, shape=(2, 8, 8))).layers

    assert conv1.synapses == 2 * 4 * (3 * 8 - 2) ** 2
    assert conv1.macs == 2 * 4 * 9 * 64
    assert conv2.synapses == 2 * 6 * (2 + 3) ** 2  # 4 -> 2 with stride 2: 2 taps, then 3
    assert conv2.macs == 2 * 6 * 9 * 4 * 2
    assert fc.synapses == 24 * 3
    assert fc.macs == 24 * 3 * 2
    assert [one.kind for one in (conv1, conv2, fc)] == ["Conv2d", "Conv2d", "Linear"]


def test_a_layer_used_at_two_places_has_two_sets_of_synapses() -> None:
    class Twice(PlainNet):
        def __init__(self, *, T: int) -> None:
            super().__init__(T=T)
            self.mid, self.lif2 = nn.Linear(5, 5), PlainLIF()

        def forward(self, x: Tensor) -> Tensor:
            steps = []
            for _ in range(self.T):
                y = self.lif(self.fc1(x))
                y = self.lif2(self.mid(y)) + self.mid(y)
                steps.append(self.fc2(y))
            return torch.stack(steps).mean(0)

    operations = count_operations(Twice(T=3), batches(seed=0, shape=(6,)))
    by_name = {one.name: one for one in operations.layers}
    assert by_name["mid"].synapses == 2 * 25
    assert by_name["mid"].macs == 2 * 25 * 3
    assert by_name["fc2"].synapses == 15


def test_a_head_behind_the_mean_over_time_runs_once() -> None:
    class MeanThenHead(PlainNet):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(torch.stack([self.lif(self.fc1(x)) for _ in range(self.T)]).mean(0))

    *_, head = count_operations(MeanThenHead(T=4), batches(seed=0, shape=(6,))).layers
    assert (head.synapses, head.macs, head.repeats) == (15, 15, 1)


def test_recurrent_weights_are_counted() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = layer.Linear(6, 5, step_mode="m")
            self.rec = layer.LinearRecurrentContainer(
                neuron.IFNode(step_mode="s"), in_features=5, out_features=5, step_mode="m"
            )
            self.fc2 = layer.Linear(5, 3, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.rec(self.fc1(x.expand(3, *x.shape)))).mean(0)

    operations = count_operations(Recurrent(), batches(seed=0, shape=(6,)))
    assert {one.name: one.synapses for one in operations.layers} == {
        "fc1": 30,
        "rec.rc": 10 * 5,
        "fc2": 15,
    }


def test_weights_that_no_counted_layer_uses_are_named() -> None:
    class Raw(PlainNet):
        def __init__(self) -> None:
            super().__init__(T=2)
            self.raw = nn.Parameter(torch.rand(5, 5))
            self.per_channel = nn.Parameter(torch.rand(5, 1, 1))
            self.attention = nn.MultiheadAttention(5, 1)
            self.norm = nn.LayerNorm((1, 5))
            self.spare = nn.Linear(2, 2)

    uncounted = count_operations(Raw(), batches(seed=0, shape=(6,))).uncounted
    assert uncounted == (
        "raw",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "spare.weight",
    )


def test_a_forward_of_the_users_own() -> None:
    """A single-step network that is called T times from outside."""
    step = nn.Sequential(nn.Linear(6, 5), PlainLIF(), nn.Linear(5, 3))

    def three_times(model: nn.Module, x: Tensor) -> Tensor:
        return torch.stack([model(x) for _ in range(3)]).mean(0)

    operations = count_operations(step, batches(seed=0, shape=(6,)), forward=three_times)
    assert operations.T == 3
    assert operations.once.macs == 30 + 3 * 15
    assert operations.times_T.macs == 3 * 45


def test_wrapped_networks_count_as_the_network_inside() -> None:
    data = batches(seed=0, shape=(6,))
    model = excite(PlainNet(T=2), seed=0)
    want = count_operations(model, data)
    assert count_operations(torch.compile(model, backend="eager"), data) == want
    assert count_operations(nn.DataParallel(model), data) == want


def test_a_plain_ann_wants_its_t() -> None:
    ann = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    data = batches(seed=0, shape=(6,))
    with pytest.raises(ConfigError, match=r"none ran.*T="):
        count_operations(ann, data)
    operations: Operations = count_operations(ann, data, T=1)
    assert operations.updates.neurons == 0
    assert operations.once == operations.times_T


class Unlike(PlainNet):
    """The second neuron runs on two thirds of the timesteps."""

    def __init__(self) -> None:
        super().__init__(T=3)
        self.lif2 = PlainLIF()

    def forward(self, x: Tensor) -> Tensor:
        spikes = [self.lif(self.fc1(x)) for _ in range(3)]
        return self.fc2(torch.stack([self.lif2(s) for s in spikes[:2]]).mean(0))


class NotANumber(PlainNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


class Functional(PlainNet):
    """No layer is called as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(x)[:, :3]


class OddRows(PlainNet):
    def forward(self, x: Tensor) -> Tensor:
        self.fc1(x[:-1])
        return super().forward(x)


VECTORS = batches(seed=0, shape=(6,))
REFUSALS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no batches": (lambda: count_operations(PlainNet(T=2), []), DataError, "no batches"),
    "an empty batch": (
        lambda: count_operations(PlainNet(T=2), [(torch.rand(0, 6), torch.zeros(0).long())]),
        DataError,
        "batch 0 is empty",
    ),
    "one-hot labels": (
        lambda: count_operations(PlainNet(T=2), [(torch.rand(2, 6), torch.zeros(2, 3))]),
        DataError,
        r"labels of shape \[N\].*\[2, 3\]",
    ),
    "logits over time": (
        lambda: count_operations(
            PlainNet(T=2), VECTORS, forward=lambda model, x: model(x).expand(2, -1, -1)
        ),
        DataError,
        r"\[2, 5, 3\].*forward=",
    ),
    "a tuple of outputs": (
        lambda: count_operations(PlainNet(T=2), VECTORS, forward=lambda m, x: (m(x), m(x))),
        DataError,
        "a tuple",
    ),
    "NaN": (lambda: count_operations(NotANumber(T=2), VECTORS), TrainingError, "NaN or inf"),
    "no synapse layer": (
        lambda: count_operations(Functional(T=1), VECTORS),
        StructureError,
        "no convolution and no linear layer",
    ),
    "rows that are no samples": (
        lambda: count_operations(OddRows(T=2), VECTORS),
        StructureError,
        "'fc1' ran on 14 rows for 5 samples",
    ),
    "neurons that disagree": (
        lambda: count_operations(Unlike(), VECTORS),
        ConfigError,
        "lif: 3, lif2: 2",
    ),
    "a wrong T": (
        lambda: count_operations(PlainNet(T=4), VECTORS, T=3),
        ConfigError,
        "'lif' was updated 4 times a sample.*T=3",
    ),
    "T of 0": (lambda: count_operations(PlainNet(T=4), VECTORS, T=0), ConfigError, "T: wanted"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals(what: str) -> None:
    attempt, error, message = REFUSALS[what]
    with pytest.raises(error, match=message):
        attempt()
