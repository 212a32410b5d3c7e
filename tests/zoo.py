"""Small networks of every kind that the analysis must follow, made to fire, and test helpers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import snntorch as snn
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import ms_resnet, sew_resnet, spiking_resnet
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import microglia as mg
from microglia.frameworks import RecurrentNetwork, from_factors, register_recurrent
from microglia.gates import Gates
from microglia.networks.lsnn import LSNN
from microglia.structure import Structure
from microglia.surgery.certificate import as_dtype, cast


class MyNeuron(nn.Module):
    """A user's own neuron, with a leak for each channel, known to no framework."""

    def __init__(self, channels: int = 0) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.rand(channels, 1, 1) * 0.3 + 0.6) if channels else 0.8
        self.v: Tensor | float = 0.0
        self.h: Tensor | float = 0.0

    def reset(self) -> None:
        self.v, self.h = 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.h = self.leak * self.v + x
        s = (self.h >= 1.0).to(x.dtype)
        s = surrogate.Sigmoid()(self.h - 1.0) if x.requires_grad else s
        self.v = self.h * (1.0 - s.detach())
        return s


mg.register_neuron(MyNeuron, membrane="h")


class OverTime(nn.Module):
    """A single-step network called once a timestep; the mean of its outputs."""

    def __init__(self, body: nn.Module, T: int) -> None:
        super().__init__()
        self.body, self.T = body, T

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(x) for _ in range(self.T)]).mean(0)


class Steps(nn.Module):
    """A multi-step network on a repeated image; the mean of its outputs."""

    def __init__(self, body: nn.Module, T: int) -> None:
        super().__init__()
        self.body, self.T = body, T
        functional.set_step_mode(self.body, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.unsqueeze(0).repeat(self.T, *[1] * x.dim())).mean(0)


def chain(
    T: int, *, multi: bool = True, node: Callable[[], nn.Module] = neuron.LIFNode
) -> nn.Module:
    body = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1, bias=False),
        layer.BatchNorm2d(8),
        node(),
        layer.MaxPool2d(2),
        layer.Conv2d(8, 12, 3, padding=1),
        layer.BatchNorm2d(12),
        node(),
        layer.AvgPool2d(2),
        layer.Dropout(0.5),
        layer.Flatten(),
        layer.Linear(12 * 2 * 2, 16),
        node(),
        layer.Linear(16, 5),
    )
    return Steps(body, T) if multi else OverTime(body, T)


def adaptive(T: int) -> nn.Module:
    """No norm, adaptive pooling, a soft reset, PLIF."""
    node = lambda: neuron.ParametricLIFNode(1.3, v_threshold=0.5, v_reset=None)  # noqa: E731
    body = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1),
        node(),
        layer.Conv2d(8, 10, 3, stride=2),
        node(),
        layer.AdaptiveAvgPool2d((2, 2)),
        layer.Flatten(),
        layer.Linear(40, 5),
    )
    return Steps(body, T)


def normed(T: int, norm: str) -> nn.Module:
    def bn(c: int) -> nn.Module:
        if norm == "td":
            return layer.ThresholdDependentBatchNorm2d(1.0, 1.0, c)
        return layer.TemporalEffectiveBatchNorm2d(T, c)

    body = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1),
        bn(8),
        neuron.LIFNode(),
        layer.Conv2d(8, 8, 3, padding=1),
        bn(8),
        neuron.IFNode(),
        layer.Flatten(),
        layer.Linear(8 * 64, 5),
    )
    return Steps(body, T)


class PreBlock(nn.Module):
    def __init__(self, c_in: int, c: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.sn1 = layer.BatchNorm2d(c_in), neuron.IFNode()
        self.conv1 = layer.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn2, self.sn2 = layer.BatchNorm2d(c), neuron.IFNode()
        self.conv2 = layer.Conv2d(c, c, 3, 1, 1, bias=False)
        self.short = layer.Conv2d(c_in, c, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.sn1(self.bn1(x))
        x = x if self.short is None else self.short(y)
        return x + self.conv2(self.sn2(self.bn2(self.conv1(y))))


class Pre(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = layer.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(PreBlock(8, 8, 1), PreBlock(8, 8, 1), PreBlock(8, 12, 2))
        self.bn, self.sn = layer.BatchNorm2d(12), neuron.IFNode()
        self.fc = layer.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sn(self.bn(self.blocks(self.stem(x))))
        return self.fc(y.flatten(-2).mean(-1))


class Cat(nn.Module):
    """Two branches concatenated before a norm and a neuron; grouped and depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = layer.Conv2d(3, 6, 3, padding=1), layer.Conv2d(3, 4, 5, padding=2)
        self.bn, self.sn = layer.BatchNorm2d(10), neuron.LIFNode(v_threshold=0.5)
        self.mix, self.sn2 = layer.Conv2d(10, 12, 1), neuron.LIFNode(v_threshold=0.5)
        self.grouped = layer.Conv2d(12, 12, 3, padding=1, groups=3)
        self.sn3 = neuron.LIFNode(v_threshold=0.5)
        self.depth = layer.Conv2d(12, 24, 3, padding=1, groups=12)
        self.sn4 = neuron.LIFNode(v_threshold=0.5)
        self.fc = layer.Linear(24 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sn(self.bn(torch.cat([self.a(x), self.b(x)], -3)))
        y = self.sn4(self.depth(self.sn3(self.grouped(self.sn2(self.mix(y))))))
        y = functional.seq_to_ann_forward(y, nn.AvgPool2d(2))
        return self.fc(y.flatten(-3))


class Mlp(nn.Module):
    """A spiking transformer block: attention on the stream, then an MLP."""

    def __init__(self, dim: int = 8, hidden: int = 24) -> None:
        super().__init__()
        self.patch = layer.Conv2d(3, dim, 4, 4)
        self.sn = neuron.LIFNode()
        self.q, self.k, self.v = (layer.Linear(dim, dim) for _ in range(3))
        self.sq, self.sk, self.sv = (neuron.LIFNode() for _ in range(3))
        self.fc1, self.sn1 = layer.Linear(dim, hidden), neuron.LIFNode()
        self.fc2, self.sn2 = layer.Linear(hidden, dim), neuron.LIFNode()
        self.head = layer.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sn(self.patch(x)).flatten(-2).transpose(-1, -2)
        q, k, v = self.sq(self.q(y)), self.sk(self.k(y)), self.sv(self.v(y))
        y = y + q @ k.transpose(-1, -2) @ v * 0.1
        y = y + self.sn2(self.fc2(self.sn1(self.fc1(y))))
        return self.head(y.mean(-2))


class SnnTorchConv(nn.Module):
    """snnTorch with hidden states passed along, a leak for each channel, and a recurrent layer."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.lif1 = snn.Leaky(beta=torch.rand(8, 1, 1), threshold=1.0)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1)
        self.lif2 = snn.Synaptic(alpha=0.8, beta=0.7)
        self.fc1 = nn.Linear(6 * 16, 10)
        self.lif3 = snn.RLeaky(beta=0.9, linear_features=10)
        self.fc2 = nn.Linear(10, 5)
        self.lif4 = snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        m1 = self.lif1.reset_mem()
        s2, m2 = self.lif2.reset_mem()
        s3, m3 = self.lif3.reset_mem()
        m4 = self.lif4.reset_mem()
        spikes, membranes = [], []
        for _ in range(self.T):
            s1, m1 = self.lif1(self.bn1(self.conv1(x)), m1)
            y, s2, m2 = self.lif2(nn.functional.max_pool2d(self.conv2(s1), 2), s2, m2)
            s3, m3 = self.lif3(self.fc1(y.flatten(1)), s3, m3)
            s4, m4 = self.lif4(self.fc2(s3), m4)
            spikes.append(s4)
            membranes.append(m4)
        return torch.stack(spikes), torch.stack(membranes)


class Recurrent(nn.Module):
    """SpikingJelly's recurrent containers between linear layers."""

    def __init__(self, *, multi: bool) -> None:
        super().__init__()
        mode = "m" if multi else "s"
        self.inp = layer.Linear(12, 10, step_mode=mode)
        self.rec = layer.LinearRecurrentContainer(neuron.LIFNode(), 10, 10, step_mode=mode)
        self.mid = layer.Linear(10, 8, step_mode=mode)
        self.ew = layer.ElementWiseRecurrentContainer(
            neuron.IFNode(), lambda a, b: a * 0.5 + b, step_mode=mode
        )
        self.out = layer.Linear(8, 5, step_mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.ew(self.mid(self.rec(self.inp(x)))))


class PlainRecurrent(nn.Module):
    """A hand-written recurrent layer of a user's own neuron, over time."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.w_in, self.w_rec = nn.Linear(12, 10), nn.Linear(10, 10, bias=False)
        self.cell = MyNeuron()
        self.out = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        s = torch.zeros(x.shape[0], self.w_rec.in_features, dtype=x.dtype, device=x.device)
        total = 0
        for _ in range(self.T):
            s = self.cell(self.w_in(x) + self.w_rec(s))
            total = total + self.out(s)
        return total


class Adaptive(nn.Module):
    """Our LSNN on the same values at every step."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.lsnn = LSNN(inputs=12, classes=5, neurons=16, adaptive=0.5, tau=2.0, beta=2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.lsnn(x.unsqueeze(0).repeat(self.T, *[1] * x.dim()))


def read_plain_recurrent(module: PlainRecurrent, dt: float) -> RecurrentNetwork:
    """Its network: the leak is 0.8, the current isn't scaled."""
    back, into, bias = (
        value.detach().double().cpu().numpy()
        for value in (module.w_rec.weight, module.w_in.weight, module.w_in.bias)
    )
    return from_factors(
        beta=0.8, weights=back, inputs=into, bias=bias, threshold=1.0, reset="zero", dt=dt
    )


register_recurrent(PlainRecurrent, read_plain_recurrent, weight="w_rec.weight")


class Plain(nn.Module):
    """Plain PyTorch with a user's own neuron; one convolution shared by two places."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.conv1, self.n1 = nn.Conv2d(3, 8, 3, padding=1), MyNeuron(8)
        self.shared, self.bn = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.n2, self.n3 = MyNeuron(8), MyNeuron()
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        total = 0
        for _ in range(self.T):
            y = self.n1(self.conv1(x))
            y = self.n2(self.bn(self.shared(y)))
            y = self.n3(self.shared(y))
            total = total + self.fc(y.mean((-1, -2)))
        return total


class Functional(nn.Module):
    """Data moved about by hand: halves, computed views, permutations, a raw scale, a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.sn1 = nn.Conv2d(3, 8, 3, padding=1), neuron.LIFNode()
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.conv2, self.sn2 = nn.Conv2d(4, 6, 3, padding=1), neuron.IFNode()
        self.fc1, self.sn3 = nn.Linear(6 * 16, 10), neuron.IFNode()
        self.fc2 = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 4:
            return x.new_zeros(x.shape[0], 5)
        y = self.sn1(self.conv1(x) * self.scale)
        a, b = y.chunk(2, dim=1)
        y = self.sn2(nn.functional.avg_pool2d(self.conv2(a + 2.0 * b), 2))
        y = y.permute(0, 2, 3, 1).reshape(y.shape[0], -1)
        return self.fc2(self.sn3(self.fc1(y)))


class Decoder(nn.Module):
    """Down and up again: a transposed convolution, an upsampling, a skip that is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.bn1, self.sn1 = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), MyNeuron(8)
        self.up, self.sn2 = nn.ConvTranspose2d(8, 6, 2, 2), MyNeuron(6)
        self.skip, self.sn3 = nn.Conv2d(3, 4, 1), MyNeuron()
        self.mix, self.sn4 = nn.Conv2d(18, 10, 3, padding=1, bias=False), MyNeuron()
        self.out = nn.Conv2d(10, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.sn1(self.bn1(self.down(x)))
        wide = nn.functional.interpolate(low, scale_factor=2.0, mode="nearest")
        y = torch.cat([self.sn2(self.up(low)), wide, self.sn3(self.skip(x))], 1)
        return self.out(self.sn4(self.mix(y)))


class Dense(nn.Module):
    """Linear layers with a norm on features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = layer.SeqToANNContainer(nn.Linear(12, 16), nn.BatchNorm1d(16))
        self.sn1 = neuron.LIFNode()
        self.fc2, self.sn2 = nn.Linear(16, 11, bias=False), neuron.QIFNode()
        self.fc3 = nn.Linear(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.sn1(self.fc1(x))
        return self.fc3(self.sn2(2.0 * self.fc2(y)))


class SnnTorchHidden(nn.Module):
    """snnTorch with hidden states kept inside, and a recurrent convolution."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            snn.RLeaky(beta=0.8, conv2d_channels=8, kernel_size=3, init_hidden=True),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 6, 3),
            snn.Alpha(alpha=0.9, beta=0.6, init_hidden=True),
            nn.Flatten(),
            nn.Linear(6 * 4, 10),
            snn.Leaky(beta=torch.rand(10), init_hidden=True, reset_mechanism="zero"),
            nn.Linear(10, 5),
            snn.Leaky(beta=0.9, init_hidden=True, output=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(x)[1] for _ in range(self.T)]).mean(0)


def resnet(kind: str, T: int, *, narrow: int = 8) -> nn.Module:
    """SpikingJelly's residual networks, blocks and forward its own, at 1/narrow of their width."""
    if kind == "ms":
        return ms_resnet.MSResNet(T=T, num_classes=5, layers=(1, 2, 1, 1), base_channels=8)
    family, settings = {
        "sew": (sew_resnet, {"cnf": "ADD"}),
        "spiking": (spiking_resnet, {}),
    }[kind]
    cls = family.SEWResNet if kind == "sew" else family.SpikingResNet

    class Narrow(cls):  # type: ignore[misc, valid-type]
        """The same with fewer channels, which the original's constructor does not offer."""

        def _make_layer(self, block: object, planes: int, *rest: object, **more: object) -> object:
            self.inplanes = 64 // narrow if planes == 64 else self.inplanes
            return super()._make_layer(block, planes // narrow, *rest, **more)

    body = Narrow(family.BasicBlock, [1, 2, 1, 1], 5, spiking_neuron=neuron.IFNode, **settings)
    body.conv1 = layer.Conv2d(3, 64 // narrow, kernel_size=7, stride=2, padding=3, bias=False)
    body.bn1 = layer.BatchNorm2d(64 // narrow)
    body.fc = layer.Linear(512 // narrow, 5)
    return Steps(body, T)


@dataclass(frozen=True)
class Case:
    build: Callable[[int], nn.Module]
    shape: tuple[int, ...]
    channels: int
    """Channels that can be removed, counted by hand."""
    time_first: bool = False
    large: bool = False
    """Too large for the sampled run of the tests."""


def rnn(cell: Callable[[int], nn.Module], channels: int, *, time_first: bool = False) -> Case:
    return Case(cell, (2, 12), channels, time_first)


# Inner channels of the blocks, then the stems' and stages' streams.
RESNET = (64 + 2 * 128 + 256 + 512) + (64 + 128 + 256 + 512)
IMAGE, RGB = (2, 3, 8, 8), (1, 3, 32, 32)
CASES: dict[str, Case] = {
    "chain": Case(chain, IMAGE, 8 + 12 + 16),
    "chain, single-step": Case(lambda T: chain(T, multi=False), IMAGE, 8 + 12 + 16),
    "chain, own neuron": Case(lambda T: chain(T, multi=False, node=MyNeuron), IMAGE, 36),
    "adaptive pooling, PLIF": Case(adaptive, IMAGE, 8 + 10),
    "threshold-dependent norm": Case(lambda T: normed(T, "td"), IMAGE, 8 + 8),
    "temporal-effective norm": Case(lambda T: normed(T, "te"), IMAGE, 8 + 8),
    "pre-activation": Case(lambda T: Steps(Pre(), T), IMAGE, (8 + 12) + (8 + 8 + 12)),
    # The depthwise layer's 24 and the grouped one's 12 go with the 4 that its 3 groups share.
    "concatenation, groups": Case(lambda T: Steps(Cat(), T), IMAGE, 6 + 4 + 4 + 4),
    "transformer MLP": Case(lambda T: Steps(Mlp(), T), IMAGE, 24),
    # Two halves are added, so channels go in pairs.
    "functional": Case(lambda T: OverTime(Functional(), T), IMAGE, 8 // 2 + 6 + 10),
    "decoder": Case(lambda T: OverTime(Decoder(), T), IMAGE, 8 + 6 + 4 + 10),
    "dense": rnn(lambda T: Steps(Dense(), T), 16 + 11),
    "snnTorch": Case(SnnTorchConv, IMAGE, 8 + 6 + 10),
    "snnTorch, hidden inside": Case(SnnTorchHidden, IMAGE, 8 + 6 + 10),
    "recurrent, multi-step": rnn(lambda T: Recurrent(multi=True), 28, time_first=True),
    "recurrent, single-step": rnn(lambda T: OverTime(Recurrent(multi=False), T), 10 + 10 + 8),
    "recurrent, hand-written": rnn(PlainRecurrent, 10),
    "recurrent, adaptive": rnn(Adaptive, 16),
    "plain PyTorch, shared": Case(Plain, IMAGE, 8),
    "SEW-ResNet": Case(lambda T: resnet("sew", T), RGB, RESNET // 8),
    "MS-ResNet": Case(lambda T: resnet("ms", T), RGB, RESNET // 8 + 8),
    "spiking ResNet": Case(lambda T: resnet("spiking", T), RGB, RESNET // 8),
    "SEW-ResNet, full width": Case(lambda T: resnet("sew", T, narrow=1), RGB, RESNET, large=True),
    "spiking ResNet, full width": Case(
        lambda T: resnet("spiking", T, narrow=1), RGB, RESNET, large=True
    ),
}
RECURRENT = tuple(name for name in CASES if name.startswith("recurrent"))
SMALL = tuple(name for name, case in CASES.items() if not case.large)


def make(name: str, *, T: int = 2, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network of the zoo that fires in every layer, and an input."""
    case = CASES[name]
    torch.manual_seed(seed)
    model = case.build(T)
    shape = (T, *case.shape) if case.time_first else case.shape
    x = torch.rand(shape) + 0.2
    drive(model)
    return model, x


def drive(model: nn.Module) -> None:
    """Weights, norms and biases at which the neurons fire often, and differently."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.3, 1.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(0.2, 0.9)
            elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                if module.weight.shape[0] > 5:
                    module.weight.mul_(2.0)
                if module.bias is not None:
                    module.bias.uniform_(0.1, 1.0 if module.weight.dim() > 2 else 2.0)


@cache
def structure_of(name: str, *, T: int = 2) -> Structure:
    """What `analyse` says of a network of the zoo; weights don't matter to it."""
    return mg.analyse(*make(name, T=T))


def random_keep(structure: Structure, sparsity: float, seed: int) -> dict[str, Tensor]:
    """A random mask that closes about this fraction of each group, never all of it."""
    g = torch.Generator().manual_seed(seed)
    keep = {}
    for group in structure.groups:
        mask = torch.rand(group.size, generator=g) >= sparsity
        mask[int(torch.randint(group.size, (1,), generator=g))] = True
        keep[group.name] = mask
    return keep


def masked(
    name: str, *, sparsity: float, T: int = 4, seed: int = 0
) -> tuple[nn.Module, Tensor, Structure, dict[str, Tensor]]:
    """A network of the zoo with gates at a random mask: (network, input, structure, mask)."""
    model, x = make(name, T=T, seed=seed)
    structure = structure_of(name, T=T)
    keep = random_keep(structure, sparsity, seed)
    Gates(model, structure).set(keep)
    return model, x, structure, keep


def double(model: nn.Module) -> nn.Module:
    """A copy in float64, also where a surrogate (snnTorch's) gives float32 spikes."""
    # Not of the network itself: SpikingJelly's default surrogate is one object for all neurons.
    model = cast(copy.deepcopy(model), torch.float64)
    for module in model.modules():
        if next(module.children(), None) is None:
            module.register_forward_pre_hook(lambda m, a: tree_map(_as_double, a), prepend=True)
    return model


def _as_double(x: Any) -> Any:
    return as_dtype(x, torch.float64)


def whole_or_sampled(sampled: Iterable[Any], whole: Iterable[Any]) -> list[Any]:
    """Parameters of a test: these always, the rest of the matrix under `--full`."""
    sampled = list(sampled)
    rest = [p for p in whole if p not in sampled]
    return [_row(p) for p in sampled] + [_row(p, pytest.mark.full) for p in rest]


def _row(p: Any, *marks: Any) -> Any:
    return pytest.param(*p, marks=marks) if isinstance(p, tuple) else pytest.param(p, marks=marks)


NETWORKS = whole_or_sampled(SMALL, CASES)
"""Every network of the zoo as a test's parameter, the large ones under `--full`."""


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything about a network, and of the random state, that an analysis must leave alone."""
    seen: dict[str, Any] = {"rng": torch.get_rng_state()}
    for name, module in model.named_modules():
        seen[f"{name}: class"] = type(module)
        for key, value in vars(module).items():
            if isinstance(value, dict):
                for k, v in value.items():
                    seen[f"{name}: {key}[{k}]"] = _frozen(v)
            elif isinstance(value, set):
                seen[f"{name}: {key}"] = set(value)
            else:
                seen[f"{name}: {key}"] = _frozen(value)
    return seen


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        grad = value.grad if value.is_leaf else None
        return (id(value), value.requires_grad, value._version, grad, value.detach().clone())
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two snapshots, state_dicts or the like are equal to the bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
