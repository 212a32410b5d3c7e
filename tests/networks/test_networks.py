"""Laws that every one of our networks keeps."""

import json
import runpy
import sys
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import microglia as mg
from microglia.errors import ConfigError
from microglia.networks import Network, Neuron, Norm, build, layers, network_names, set_timesteps
from microglia.networks.alif import ALIFNode
from microglia.networks.layers import scaled
from microglia.networks.preresnet import PreActivationBlock

# Name, settings, input side: small, and between them every neuron, pooling and shortcut.
SMALL = [
    ("conv5", {"channels": 3, "width": 1 / 8}, 32),
    ("conv5", {"channels": 2, "width": 1 / 8, "neuron": "plif", "size": 34}, 34),
    ("digits", {"channels": 1, "width": 0.25}, 8),
    ("digits", {"channels": 1, "width": 0.25, "neuron": "if", "T": 8}, 8),
    ("digits", {"channels": 1, "width": 0.25, "T": 1}, 8),
    ("vgg16", {"channels": 3, "width": 1 / 16}, 32),
    ("vgg16", {"channels": 1, "width": 1 / 32, "size": 64, "T": 2}, 64),
    ("vgg9", {"channels": 3, "width": 1 / 32, "neuron": "alif", "surrogate": "triangle"}, 32),
    ("vgg11", {"channels": 3, "width": 1 / 32, "surrogate": "atan", "norm": "tdbn"}, 32),
    ("6conv2fc", {"channels": 3, "width": 1 / 32, "reset": "soft", "size": 16}, 16),
    ("7conv2fc", {"channels": 3, "width": 1 / 32, "norm": "tebn", "T": 3, "size": 8}, 8),
    (
        "vggsnn",
        {
            "channels": 2,
            "width": 1 / 32,
            "neuron": "alif",
            "reset": "soft",
            "beta": 0.5,
            "tau_a": 2,
        },
        48,
    ),
    ("resnet19", {"channels": 3, "width": 1 / 16, "norm": "tdbn"}, 12),
    ("resnet19", {"channels": 2, "width": 1 / 16, "norm": "tebn", "surrogate": "atan"}, 12),
    ("preresnet20", {"channels": 3, "width": 0.5, "norm": "tebn", "neuron": "alif"}, 12),
    ("preresnet18", {"channels": 3, "width": 1 / 8}, 16),
    (
        "preresnet20",
        {"channels": 3, "width": 0.5, "neuron": "lif", "T": 6, "detach_reset": False},
        16,
    ),
]
each = pytest.mark.parametrize(("name", "settings", "side"), SMALL)


def make(name: str, settings: dict[str, object], *, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build(name, classes=7, **settings)


def lively(network: Network) -> Network:
    """Norms off their resting values, so that neurons fire at every depth and outputs differ."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, 0.4, 1.2)
            assert module.running_mean is not None
            module.running_mean.uniform_(-0.1, 0.1)
    return network


def image(network: Network, side: int, *, batch: int = 3) -> Tensor:
    channels = network.microglia_network["arguments"]["channels"]
    return torch.randn(batch, channels, side, side, dtype=torch.float64)


def logits(network: Network, x: Tensor) -> Tensor:
    from spikingjelly.activation_based import functional

    functional.reset_net(network)
    return network(x)


@pytest.mark.parametrize(
    ("name", "classes", "channels", "parameters"),
    [
        ("vgg16", 10, 3, 15_250_378),
        ("vgg16", 100, 3, 15_296_548),
        ("conv5", 10, 3, 1_107_648 + 1_664 + 2_570),
        ("conv5", 10, 2, 1_107_072 + 1_664 + 2_570),
        # The counts of He et al.'s networks with 1x1 projections on the activated stream.
        ("preresnet18", 10, 3, 11_172_170),
        ("preresnet20", 10, 3, 272_282),
        ("digits", 10, 1, 288 + 18_432 + 36_864 + 320 + 2_570),
    ],
)
def test_parameter_counts(name: str, classes: int, channels: int, parameters: int) -> None:
    with torch.device("meta"):
        network = build(name, classes=classes, channels=channels)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_prunable_channels_of_the_papers_vgg16() -> None:
    with torch.device("meta"):
        network = build("vgg16", classes=10, channels=3)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    assert sum(m.out_channels for m in convolutions) == 4224


@each
@pytest.mark.parametrize("seed", [0, 1])
def test_an_image_is_its_sequence_of_equal_frames(
    name: str, settings: dict[str, object], side: int, seed: int
) -> None:
    network = lively(make(name, settings, seed=seed)).double().eval()
    x = image(network, side)
    frames = x.expand(network.T, *x.shape).contiguous()
    still, moving = logits(network, x), logits(network, frames)
    assert still.shape == (3, 7)
    assert still.std() > 1e-4, "the network is silent: equality would prove nothing"
    assert (still - moving).abs().max() < 1e-10


@each
def test_an_image_trains_as_its_sequence_of_equal_frames(
    name: str, settings: dict[str, object], side: int
) -> None:
    once = lively(make(name, settings)).double().train()
    often = deepcopy(once)
    x = image(once, side, batch=8)
    still = logits(once, x)
    moving = logits(often, x.expand(once.T, *x.shape).contiguous())
    assert (still - moving).abs().max() < 1e-5
    still.square().sum().backward()
    moving.square().sum().backward()
    for (key, a), b in zip(once.named_parameters(), often.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-5, atol=1e-8), key


@each
def test_the_first_convolution_sees_an_image_once(
    name: str, settings: dict[str, object], side: int
) -> None:
    network = make(name, settings).double()
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    norm = next(m for m in network.modules() if isinstance(m, _BatchNorm))
    seen: list[int] = []
    for module in (first, norm):
        module.register_forward_hook(lambda _module, _inputs, y: seen.append(y.shape[0]))
    x = image(network, side)
    logits(network, x)
    frames = network.T if "tebn" in settings.values() else 5
    logits(network, x.expand(frames, *x.shape))
    once = network.T if "tebn" in settings.values() else 1
    assert seen == [1, once, frames, frames]


@each
def test_logits_are_the_mean_over_time(name: str, settings: dict[str, object], side: int) -> None:
    network = lively(make(name, settings)).double().eval()
    x = image(network, side)
    frames = torch.stack([(-1) ** t * x.roll(t, -1) for t in range(network.T)])
    readout: list[Tensor] = []
    network.readout.register_forward_hook(lambda _module, _inputs, y: readout.append(y))
    y = logits(network, frames)
    assert readout[0].shape == (network.T, 3, 7)
    assert torch.allclose(y, sum(readout[0]) / network.T)
    network.over_time = True
    assert torch.equal(logits(network, frames), readout[1])


@each
def test_gradient_reaches_every_parameter(
    name: str, settings: dict[str, object], side: int
) -> None:
    network = make(name, settings).double().train()
    y = logits(network, image(network, side, batch=8))
    torch.nn.functional.cross_entropy(y, torch.arange(8) % 7).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@each
def test_rebuilds_from_its_own_record(name: str, settings: dict[str, object], side: int) -> None:
    network = lively(make(name, settings)).double().eval()
    record = json.loads(json.dumps(network.microglia_network))
    again = build(record["name"], **record["arguments"]).double().eval()
    assert again.microglia_network == network.microglia_network
    assert deepcopy(network).microglia_network == network.microglia_network
    again.load_state_dict(network.state_dict())
    x = image(network, side)
    assert torch.equal(logits(network, x), logits(again, x))


def test_a_record_of_before_a_setting_gives_its_usual_value() -> None:
    network = build("digits", classes=10, channels=1, neuron="alif")
    record = network.microglia_network
    of_old = {"detach_reset", "beta", "tau_a"}
    arguments = {k: v for k, v in record["arguments"].items() if k not in of_old}
    assert len(arguments) == len(record["arguments"]) - 3
    assert build("digits", **arguments).microglia_network == record


@pytest.mark.parametrize("name", ["digits", "sew_resnet18"])
def test_the_neurons_settings_reach_every_neuron(name: str) -> None:
    chosen = {"detach_reset": False, "beta": 0.7, "tau_a": 3.0}
    with torch.device("meta"):
        network = build(name, classes=10, channels=3, neuron="alif", **chosen)
    neurons = [m for m in network.modules() if isinstance(m, ALIFNode)]
    assert neurons
    assert all(getattr(n, k) == v for n in neurons for k, v in chosen.items())


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (16, 1), (8, 2), (16, 2)])
def test_the_preactivation_block_adds_its_branch_to_the_stream(outputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block = PreActivationBlock(8, outputs, stride=stride, neuron=Neuron("if")).double()
    x = torch.randn(4, 2, 8, 6, 6, dtype=torch.float64)
    spikes = Neuron("if")()(block.bn1(x))
    hidden = Neuron("if")()(block.bn2(block.conv1(spikes)))
    assert hidden.any()
    passed_on = x if block.shortcut is None else block.shortcut(spikes)
    assert (block.shortcut is None) == (outputs == 8 and stride == 1)
    assert torch.allclose(block(x, 4), block.conv2(hidden) + passed_on)


@pytest.mark.parametrize("width", [1 / 16, 0.1, 0.25, 0.3, 0.5, 0.77, 1.5])
@pytest.mark.parametrize("name", ["conv5", "vgg16", "preresnet18", "preresnet20", "digits"])
def test_width_gives_multiples_of_eight(name: str, width: float) -> None:
    with torch.device("meta"):
        full = build(name, classes=10, channels=3)
        thin = build(name, classes=10, channels=3, width=width)
    for a, b in zip(full.modules(), thin.modules(), strict=True):
        if isinstance(a, nn.Conv2d):
            assert b.out_channels % 8 == 0
            assert b.out_channels == max(8, b.out_channels)
            assert abs(b.out_channels - a.out_channels * width) <= max(4, 8 - width * 16)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(64, 1.0, 64), (20, 1.0, 20), (64, 0.25, 16), (64, 1 / 16, 8), (16, 0.75, 16), (64, 0.3, 16)],
)
def test_scaled(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected


def test_the_same_seed_gives_the_same_weights() -> None:
    a, b, c = (make("vgg16", {"channels": 3, "width": 1 / 16}, seed=s) for s in (3, 3, 4))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


def test_first_weights_of_the_papers_vgg16() -> None:
    network = make("vgg16", {"channels": 3, "width": 0.25})
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            expected = (2 / (9 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("reset", layers.RESETS)
@pytest.mark.parametrize("kind", layers.KINDS)
@pytest.mark.parametrize(("beta", "tau_a"), [(0.2, 4.0), (1.5, 1.0), (0.0, 9.0)])
def test_neurons_follow_their_equation(kind: str, reset: str, beta: float, tau_a: float) -> None:
    tau = 3.0
    x = torch.rand(12, 50, dtype=torch.float64) * 4 - 0.4
    neuron = Neuron(kind, tau=tau, reset=reset, beta=beta, tau_a=tau_a)().double()
    spikes = neuron(x)
    v, a = torch.zeros(2, 50, dtype=torch.float64)
    for current, spike in zip(x, spikes, strict=True):
        h = v + current if kind == "if" else v + (current - v) / tau
        theta = 1 + beta * a if kind == "alif" else torch.ones_like(h)
        assert torch.equal(spike, (h >= theta).double())
        v = h * (1 - spike) if reset == "hard" else h - theta * spike
        a = a + (spike - a) / tau_a
    assert 0 < spikes.mean() < 1
    mg.reset(neuron)
    assert torch.equal(neuron(x), spikes)


SLOPES = {
    "sigmoid": lambda x, alpha: alpha * (alpha * x).sigmoid() * (1 - (alpha * x).sigmoid()),
    "atan": lambda x, alpha: alpha / 2 / (1 + (torch.pi / 2 * alpha * x) ** 2),
    "triangle": lambda x, alpha: (alpha - alpha**2 * x.abs()).clamp(min=0),
}


@pytest.mark.parametrize("alpha", [1.0, 4.0])
@pytest.mark.parametrize("kind", layers.KINDS)
@pytest.mark.parametrize("surrogate", layers.SURROGATES)
def test_the_step_has_the_slope_of_its_surrogate(surrogate: str, kind: str, alpha: float) -> None:
    x = (torch.linspace(-2, 6, 90, dtype=torch.float64)).reshape(1, 90).requires_grad_()
    neuron = Neuron(kind, tau=2.0, alpha=alpha, surrogate=surrogate)()
    neuron.double()(x).sum().backward()
    gain = 1.0 if kind == "if" else 0.5
    assert torch.allclose(x.grad, gain * SLOPES[surrogate](gain * x.detach() - 1, alpha))


@pytest.mark.parametrize("kind", layers.KINDS)
def test_a_detached_reset_gives_no_gradient(kind: str) -> None:
    x = torch.full((2, 3), 1.4, dtype=torch.float64)
    gradients = []
    for detach in (True, False):
        current = x.clone().requires_grad_()
        neuron = Neuron(kind, tau=1.2, reset="hard", detach_reset=detach)().double()
        neuron(current)[1].sum().backward()
        gradients.append(current.grad[0].clone())
    assert not torch.allclose(*gradients)
    if kind != "alif":  # whose spikes raise the threshold, whatever the reset
        assert not gradients[0].any(), "it fired at the first step: nothing is left of its current"


def test_norms_by_hand() -> None:
    x = torch.randn(3, 4, 5, 6, 6) * 2 + 1
    plain = (x - x.mean((0, 1, 3, 4), keepdim=True)) / x.std(
        (0, 1, 3, 4), keepdim=True, correction=0
    )
    tebn = Norm("tebn", T=3).maps(5)
    tebn.scale.data = torch.tensor([1.0, 2.0, 0.5])
    for norm, expected in (
        (Norm("bn").maps(5), plain),
        (Norm("tdbn").maps(5), plain),
        (Norm("tdbn").maps(5, alpha=0.5), 0.5 * plain),
        (tebn, plain * torch.tensor([1.0, 2.0, 0.5]).reshape(3, 1, 1, 1, 1)),
    ):
        assert torch.allclose(norm.train()(x), expected, atol=1e-4)
    features = x[..., 0, 0]
    for kind in layers.NORMS:
        y = Norm(kind, T=3).features(5).train()(features)
        assert torch.allclose(y.mean((0, 1)), torch.zeros(5), atol=1e-5)


@each
def test_fewer_timesteps_are_those_of_a_network_built_for_fewer(
    name: str, settings: dict[str, object], side: int
) -> None:
    network = lively(make(name, settings)).double().eval()
    fewer = max(1, network.T - 1)
    frames = image(network, side).expand(fewer, -1, -1, -1, -1)
    x = frames[0]
    other = build(name, classes=7, **{**settings, "T": fewer}).double().eval()
    state = network.state_dict()
    other.load_state_dict({k: v[:fewer] if k.endswith(".scale") else v for k, v in state.items()})
    set_timesteps(network, fewer)
    assert torch.equal(logits(network, x), logits(other, x))
    assert network.microglia_network == other.microglia_network
    for T in (0, fewer + 1):
        with pytest.raises(ConfigError, match=f"wanted 1 to {fewer}"):
            set_timesteps(network, T)


def test_tebn_wants_the_timesteps_it_was_built_for() -> None:
    network = make("digits", {"channels": 1, "width": 0.25, "norm": "tebn", "T": 3})
    with pytest.raises(ConfigError, match="built for T = 3 time steps, the input has 4"):
        network(torch.rand(4, 2, 1, 8, 8))


@each
def test_a_step_of_training_then_channels_removed_for_real(
    name: str, settings: dict[str, object], side: int
) -> None:
    network = lively(make(name, settings)).train()
    x, labels = image(network, side, batch=4).float(), torch.arange(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    pruner = mg.SCA(network, sparsity=0.5, example_input=x, optimizer=optimizer, every=1)
    mg.reset(network)
    loss = torch.nn.functional.cross_entropy(network(x), labels) + pruner.penalty()
    loss.backward()
    optimizer.step()
    assert pruner.step() is not None
    small = pruner.compact()
    assert small.certificate is not None
    assert small.certificate.spikes > 0
    before, after = (sum(p.numel() for p in m.parameters()) for m in (network, small.model))
    assert after < 0.8 * before
    assert abs(pruner.sparsity_reached - 0.5) < 0.02


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'vgg16'"):
        build("vgg-16", classes=10, channels=3)
    assert {"conv5", "digits", "vgg16", "sew_resnet18"} <= set(network_names())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("conv5", {"size": 16}, "at least 32 pixels"),
        ("vgg16", {"size": 31}, "at least 32 pixels"),
        ("digits", {"size": 3}, "at least 4 pixels"),
        ("conv5", {"T": 0}, "T: at least 1"),
        ("conv5", {"size": 0}, "size: at least 1"),
        ("conv5", {"channels": 0}, "channels: at least 1"),
        ("conv5", {"width": 0.0}, "width: a factor above 0"),
        ("conv5", {"width": float("nan")}, "width: a factor above 0"),
        ("conv5", {"neuron": "plf"}, "Did you mean 'plif'"),
        ("conv5", {"tau": 1.0}, "tau"),
        ("conv5", {"alpha": 0.0}, "alpha"),
        ("conv5", {"neuron": "alif", "beta": -0.1}, "beta: the threshold must rise"),
        ("conv5", {"neuron": "alif", "tau_a": 0.5}, "tau_a: .* at least 1 time step"),
        ("conv5", {"beta": 0.2}, "beta: only neuron='alif' adapts, not 'lif'"),
        ("vgg16", {"tau_a": 2.0}, "tau_a: only neuron='alif' adapts, not 'if'"),
        ("conv5", {"cnf": "ADD"}, "SEW-ResNets"),
        ("conv5", {"norm": "tebm"}, "Did you mean 'tebn'"),
        ("conv5", {"surrogate": "triangel"}, "Did you mean 'triangle'"),
        ("conv5", {"reset": "none"}, "Known: hard, soft"),
        ("sew_resnet18", {"norm": "tebn"}, "batch norm only"),
        ("ms_resnet18", {"reset": "soft"}, "brings its own neuron"),
    ],
)
def test_refuses_settings_out_of_range(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **{"classes": 10, "channels": 3, **settings})


def test_says_how_to_get_spikingjelly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "spikingjelly"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'microglia\[spikingjelly\]'"):
        runpy.run_path(layers.__file__)


def test_refuses_an_input_of_the_wrong_rank() -> None:
    network = make("digits", {"channels": 1})
    with pytest.raises(ConfigError, match=r"\[N, C, H, W\].*got shape \[8, 8\]"):
        network(torch.zeros(8, 8))
