"""What the analysis does not know it names and leaves alone; what is left free cuts rightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.gates import Gates
from microglia.structure import Structure
from microglia.surgery import certify, cut


class Around(nn.Module):
    """Three spiking convolutions, something between the first two, and a readout."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.conv1, self.n1 = nn.Conv2d(3, 8, 3, padding=1), zoo.MyNeuron()
        self.between = between
        self.conv2, self.n2 = nn.Conv2d(8, 6, 3, padding=1), zoo.MyNeuron()
        self.conv3, self.n3 = nn.Conv2d(6, 5, 3, padding=1), zoo.MyNeuron()
        self.fc = nn.Linear(5 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self.n1(self.conv1(x)))
        return self.fc(self.n3(self.conv3(self.n2(self.conv2(y)))).flatten(1))


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, y: Tensor) -> Tensor:
        return self.function(y)


class Picked(nn.Module):
    """Channels reordered by a buffer of indices."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(7, -1, -1))

    def forward(self, y: Tensor) -> Tensor:
        return y[:, self.order]


def gram(y: Tensor) -> Tensor:
    flat = y.flatten(2)
    return (flat @ flat.transpose(1, 2) @ flat).reshape(y.shape) * 0.01


def over_time(y: Tensor) -> Tensor:
    """Each step written into a part of a tensor made beforehand."""
    out = torch.zeros(2, *y.shape)
    for t in range(2):
        out[t] = y
    return out.sum(0)


def into_channels(y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    out[:, :4] = y[:, 4:]
    out[:, 4:] = y[:, :4]
    return out


def pixels(y: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(nn.functional.pixel_shuffle(y, 2), 2).repeat(1, 4, 1, 1)


def masked_by_value(y: Tensor) -> Tensor:
    return y * (y == y.amax(1, keepdim=True))


def scattered(y: Tensor) -> Tensor:
    return torch.zeros_like(y).scatter(1, y.argsort(1), y)


Between = Callable[[], nn.Module]
UNKNOWN: dict[str, tuple[Between, str]] = {
    "cumsum": (lambda: Lambda(lambda y: y.cumsum(1)), "cumsum"),
    "softmax": (lambda: Lambda(lambda y: y.softmax(1)), "softmax"),
    "sort": (lambda: Lambda(lambda y: y.sort(1).values), "sort"),
    "fft": (lambda: Lambda(lambda y: torch.fft.fft(y, dim=1).real), "fft"),
    "index by a buffer": (Picked, "index"),
    "scatter": (lambda: Lambda(scattered), "sort"),
    "mean over channels": (lambda: Lambda(lambda y: y * y.mean(1, keepdim=True)), "mean"),
    "largest over everything": (lambda: Lambda(lambda y: y / (y.amax() + 1)), "amax"),
    "largest over channels": (lambda: Lambda(masked_by_value), "amax"),
    "roll": (lambda: Lambda(lambda y: y.roll(2, 1)), "roll"),
    "channel_shuffle": (
        lambda: Lambda(lambda y: nn.functional.channel_shuffle(y, 2)),
        "channel_shuffle",
    ),
    "pixel_shuffle": (lambda: Lambda(pixels), "pixel_shuffle"),
    "unbind": (lambda: Lambda(lambda y: torch.stack(y.unbind(1), 1)), "unbind"),
    "slice of channels": (lambda: Lambda(lambda y: torch.cat([y[:, :4], y[:, :4]], 1)), "slice"),
    "attention": (lambda: Lambda(gram), "attention"),
    "written in place into channels": (lambda: Lambda(into_channels), "slice"),
    "written in place into steps": (lambda: Lambda(over_time), "in place"),
    "GroupNorm": (lambda: nn.GroupNorm(4, 8), "native_group_norm"),
    "LayerNorm": (lambda: nn.LayerNorm([8, 8, 8]), "native_layer_norm"),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(8, affine=True), "between"),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), "between"),
    "weight_norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
        "_weight_norm",
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_operation_is_named_and_what_is_left_cuts_rightly(what: str) -> None:
    between, word = UNKNOWN[what]
    model, x = Around(between()), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    said = [f"{op} in {where}" for op, where in structure.refused.items()]
    assert word in " ".join([*said, structure.fixed.get("conv1", "")]), str(structure)
    assert "conv1" in structure.fixed
    assert {g.name for g in structure.groups} - {"between"} == {"conv2", "conv3"}
    cut_and_certify(model, structure, x)


@pytest.mark.parametrize(
    "known",
    [
        lambda y: y.flip(1),
        lambda y: y.roll(2, 2),
        lambda y: y.reshape(y.shape[0], 2, y.shape[1] // 2, 8, 8).flatten(1, 2),
        lambda y: y.permute(0, 2, 3, 1).permute(0, 3, 1, 2).contiguous(),
        lambda y: nn.functional.pad(y, (1, 1, 1, 1))[..., 1:-1, 1:-1],
        lambda y: torch.stack([y, y]).mean(0),
        lambda y: y * torch.sigmoid(y.mean((2, 3), keepdim=True)),
        lambda y: torch.where(y > 0.5, y, torch.zeros_like(y)),
        lambda y: nn.functional.max_pool2d(y, 3, 1, 1) + nn.functional.avg_pool2d(y, 3, 1, 1),
        lambda y: y.clamp_(0, 1).mul_(2.0),
        lambda y: y.masked_fill(y > 2, 0.0),
    ],
)
def test_what_only_moves_or_scales_channels_keeps_them_free(
    known: Callable[[Tensor], Tensor],
) -> None:
    model, x = Around(Lambda(known)), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert "conv1" in {g.name for g in structure.groups}, str(structure)
    cut_and_certify(model, structure, x)


# Pieces that a forward may be made of, `[N, 8, H, W]` to the same shape: known, unknown, harmless
# over space and harmful over channels.
PIECES: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda y: y.flip(1),
    "flip space": lambda y: y.flip(-1),
    "roll": lambda y: y.roll(3, 1),
    "roll space": lambda y: y.roll((1, 2), (-1, -2)),
    "transpose": lambda y: y.transpose(-1, -2),
    "halves swapped": lambda y: torch.cat(y.chunk(2, 1)[::-1], 1),
    "halves added": lambda y: torch.cat([sum(y.chunk(2, 1)), y[:, : y.shape[1] // 2]], 1),
    "doubled": lambda y: y + y.flip(-1),
    "with its mirror": lambda y: y + y.flip(1),
    "pooled": lambda y: nn.functional.avg_pool2d(y, 3, 1, 1),
    "largest": lambda y: nn.functional.max_pool2d(y, 3, 1, 1),
    "scaled": lambda y: y * 0.5,
    "in place": lambda y: y.mul_(0.5).add_(y),
    "squeezed": lambda y: y * torch.sigmoid(y.mean((2, 3), keepdim=True)),
    "mixed": lambda y: y - 0.1 * y.mean(1, keepdim=True),
    "folded": lambda y: y.flatten(1).view(y.shape[0], -1, *y.shape[2:]),
    "over space": lambda y: y.flatten(2).cumsum(-1).view(y.shape).clamp(max=2.0),
    "over channels": lambda y: y.cumsum(1).clamp(max=2.0),
    "pairs": lambda y: y.unflatten(1, (-1, 2)).flip(2).flatten(1, 2),
    "strided": lambda y: y.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    "stacked": lambda y: torch.stack([y, 2 * y]).amax(0),
    "repeated": lambda y: y.repeat(2, 1, 1, 1)[: y.shape[0]],
    "split": lambda y: torch.cat(y.split(4, 1), 1),
    "gated by half": lambda y: torch.cat([a := y.chunk(2, 1)[0], a * y.chunk(2, 1)[1]], 1),
    "einsum": lambda y: torch.einsum("nchw,nchk->nchw", y, y) * 0.1,
    "padded": lambda y: nn.functional.pad(y, (1, 0, 0, 1))[..., 1:, :-1],
    "noised": lambda y: y * torch.rand_like(y).round().clamp(min=1.0),
    "by index": lambda y: y.index_select(1, torch.arange(y.shape[1] - 1, -1, -1)),
}


@pytest.mark.parametrize(
    "seed", zoo.whole_or_sampled(range(12), range(400)), ids=lambda s: f"program {s}"
)
def test_random_programs_are_never_cut_wrongly(seed: int) -> None:
    """Some pieces one after the other: whatever is said to be free passes the certificate."""
    torch.manual_seed(seed)
    names = list(PIECES)
    picked = [names[i] for i in torch.randint(len(names), (1 + seed % 4,)).tolist()]

    def program(y: Tensor) -> Tensor:
        for name in picked:
            y = PIECES[name](y)
        return y

    model, x = Around(Lambda(program)), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert structure.groups, picked
    cut_and_certify(model, structure, x)


@pytest.mark.parametrize(
    "offset",
    [
        lambda y: y + 0.5,
        lambda y: 1 - y,
        lambda y: 2 * y - 1,
        lambda y: torch.sigmoid(y),
        lambda y: y.clamp_min(0.2),
        lambda y: (y == 0).float(),
        lambda y: nn.functional.avg_pool2d(nn.functional.pad(y, (1, 1, 1, 1), value=1.0), 3, 1),
        lambda y: torch.cat([y, torch.ones_like(y)], -1)[..., ::2],
    ],
)
def test_a_channel_that_is_not_zero_when_silent_stays(
    offset: Callable[[Tensor], Tensor],
) -> None:
    """What reads the channel would see a constant, which the smaller network has not."""
    model, x = Around(Lambda(offset)), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert "n2" in structure.fixed["conv1"], str(structure)
    assert {g.name for g in structure.groups} == {"conv2", "conv3"}
    cut_and_certify(model, structure, x)


def test_a_product_of_two_layers_is_cut_rightly_or_not_at_all() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n1 = nn.Linear(5, 6), zoo.MyNeuron()
            self.b, self.n2 = nn.Linear(5, 7), zoo.MyNeuron()
            self.c, self.n3 = nn.Linear(42, 9), zoo.MyNeuron()
            self.d = nn.Linear(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            y, z = self.n1(self.a(x)), self.n2(self.b(x))
            return self.d(self.n3(self.c((y[:, :, None] * z[:, None, :]).flatten(1))))

    model, x = zoo.OverTime(Bilinear(), 3), torch.rand(4, 5)
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert structure.groups
    cut_and_certify(model, structure, x)


def test_a_literal_size_closes_its_layer_and_says_what_broke() -> None:
    model, x = zoo.OverTime(Literal(), 3), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert "512" in structure.fixed["body.conv2"]
    assert "narrower" in structure.fixed["body.conv2"]
    assert [g.name for g in structure.groups] == ["body.conv1", "body.fc1"]
    cut_and_certify(model, structure, x)


class Literal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.n1 = nn.Conv2d(3, 6, 3, padding=1), zoo.MyNeuron()
        self.conv2, self.n2 = nn.Conv2d(6, 8, 3, padding=1), zoo.MyNeuron()
        self.fc1, self.n3 = nn.Linear(512, 10), zoo.MyNeuron()
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.n2(self.conv2(self.n1(self.conv1(x)))).view(-1, 512)
        return self.fc2(self.n3(self.fc1(y)))


def test_a_layer_that_the_example_does_not_reach_is_listed() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.n1 = nn.Conv2d(3, 6, 3), zoo.MyNeuron()
            self.spare, self.fc = nn.Linear(6, 6), nn.Linear(6, 4)
            self.n2 = zoo.MyNeuron()

        def forward(self, x: Tensor) -> Tensor:
            y = self.n1(self.conv(x)).mean((-1, -2))
            return self.fc(y if self.training is not None else self.n2(self.spare(y)))

    model, x = zoo.OverTime(Spare(), 3), torch.rand(2, 3, 8, 8) + 0.2
    structure = mg.analyse(model, x)
    assert structure.fixed["body.spare"] == "it was not used on the example input"
    assert "body.spare" in str(structure)
    assert set(structure.fixed) == {"body.spare", "body.fc"}


def test_a_literal_width_of_a_state_closes_its_layer() -> None:
    class Widths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.n1 = nn.Conv2d(3, 8, 3, padding=1), zoo.MyNeuron()
            self.conv2, self.n2 = nn.Conv2d(8, 6, 3, padding=1), zoo.MyNeuron()
            self.fc = nn.Linear(6 * 64, 4)

        def forward(self, x: Tensor) -> Tensor:
            bias = torch.zeros(1, 8, 1, 1)
            return self.fc(self.n2(self.conv2(self.n1(self.conv1(x) + bias))).flatten(1))

    model, x = Widths(), torch.rand(2, 3, 8, 8) + 0.2
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert "narrower" in structure.fixed["conv1"]
    assert [g.name for g in structure.groups] == ["conv2"]
    cut_and_certify(model, structure, x)


def through_numpy(y: Tensor) -> Tensor:
    return torch.from_numpy(y.detach().numpy().copy())


def through_a_closure(y: Tensor, kept: Tensor = torch.rand(8, 1, 1)) -> Tensor:  # noqa: B008
    return y * kept


@pytest.mark.parametrize("foreign", [through_numpy, through_a_closure])
def test_a_tensor_of_unknown_history_is_refused_with_its_place(
    foreign: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(mg.StructureError, match=r"between.*no history"):
        mg.analyse(Around(Lambda(foreign)), torch.rand(2, 3, 8, 8))


class WithAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.n1 = nn.Linear(12, 8), zoo.MyNeuron()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc1, self.n2 = nn.Linear(8, 16), zoo.MyNeuron()
        self.fc2 = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.n1(self.patch(x))
        y = y + self.attention(y, y, y, need_weights=False)[0]
        return self.fc2(self.n2(self.fc1(y))).mean(1)


class WithGRU(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__()
        self.patch, self.n1 = nn.Linear(12, 8), zoo.MyNeuron()
        self.gru = kind(8, 6, batch_first=True)
        self.fc1, self.n2 = nn.Linear(6, 16), zoo.MyNeuron()
        self.fc2 = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.n1(self.patch(x)))
        return self.fc2(self.n2(self.fc1(y))).mean(1)


@pytest.mark.parametrize(
    "build", [WithAttention, WithGRU, lambda: WithGRU(nn.LSTM), lambda: WithGRU(nn.RNN)]
)
def test_modules_of_pytorch_that_hide_their_weights(build: Callable[[], nn.Module]) -> None:
    model, x = build(), torch.rand(2, 5, 12)
    zoo.drive(model)
    structure = mg.analyse(model, x)
    assert "patch" in structure.fixed, str(structure)
    assert "fc1" in {g.name for g in structure.groups}, str(structure)
    text = str(structure)
    assert "attention" in text or "gru" in text, text
    cut_and_certify(model, structure, x)


def cut_and_certify(model: nn.Module, structure: Structure, x: Tensor) -> None:
    gates, spikes = Gates(model, structure), 0
    for seed, sparsity in enumerate((0.3, 0.6, 0.9)):
        keep = zoo.random_keep(structure, sparsity, seed)
        gates.set(keep)
        small, _ = cut(model, structure, keep)
        spikes += certify(model, small, structure, keep, x).spikes
    gates.remove()
    assert spikes > 0
