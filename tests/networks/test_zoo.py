"""SpikingJelly's networks, reached by name."""

import json

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model import ms_resnet, sew_resnet
from torch import Tensor, nn

import microglia as mg
from microglia.errors import ConfigError
from microglia.networks import build
from microglia.networks.zoo import MODULES

NETWORKS = [
    ("sew_resnet18", {}),
    ("sew_resnet18", {"cnf": "IAND", "neuron": "lif"}),
    ("spiking_resnet18", {"neuron": "plif", "tau": 1.5}),
    ("ms_resnet18", {}),
    ("ms_resnet18", {"channels": 2, "neuron": "if"}),
    ("max_resnet18", {}),
    ("spikformer_cifar10", {}),
]


def settings_with(settings: dict[str, object]) -> dict[str, object]:
    return {"classes": 5, "channels": 3, "T": 2, **settings}


@pytest.mark.parametrize(("name", "settings"), NETWORKS)
def test_takes_images_and_sequences_and_rebuilds(name: str, settings: dict[str, object]) -> None:
    settings = settings_with(settings)
    torch.manual_seed(0)
    network = build(name, **settings).eval()
    record = json.loads(json.dumps(network.microglia_network))
    with torch.device("meta"):
        again = build(record["name"], **record["arguments"])
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }
    side = 32 if name.startswith("spikformer") else 16
    x = torch.randn(2, network.microglia_network["arguments"]["channels"], side, side)
    with torch.no_grad():
        still = network(x)
        functional.reset_net(network)
        moving = network(torch.stack([x, x]))
    assert still.shape == (2, 5)
    assert torch.equal(still, moving)


@pytest.mark.parametrize("name", ["sew_resnet18", "ms_resnet18"])
def test_logits_are_the_mean_over_time(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, classes=5, channels=3)
    head = network.get_submodule("network.fc" if name.startswith("sew") else "network.head")
    seen: list[Tensor] = []
    head.register_forward_hook(lambda _module, _inputs, y: seen.append(y))
    with torch.no_grad():
        y = network(torch.randn(3, 2, 3, 16, 16))
    assert seen[0].shape == (3, 2, 5)
    assert not torch.allclose(seen[0][0], seen[0][1])
    assert torch.allclose(y, seen[0].mean(0))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_name_builds(name: str) -> None:
    with torch.device("meta"):
        network = build(name, classes=10, channels=3)
    assert sum(p.numel() for p in network.parameters()) > 1_000_000


def test_classes_are_spikingjellys_own() -> None:
    with torch.device("meta"):
        sew = build("sew_resnet18", classes=10, channels=3).get_submodule("network")
        ms = build("ms_resnet18", classes=10, channels=3).get_submodule("network")
    assert type(sew) is sew_resnet.SEWResNet
    assert type(ms) is ms_resnet.MSResNet


def test_the_papers_neuron_stays_unless_another_is_named() -> None:
    def time_constants(network: nn.Module) -> set[float]:
        return {m.tau for m in network.modules() if isinstance(m, neuron.LIFNode)}

    with torch.device("meta"):
        own = build("ms_resnet18", classes=10, channels=3)
        named = build("ms_resnet18", classes=10, channels=3, neuron="lif", tau=5.0)
    assert time_constants(own) == {4.0 / 3.0}
    assert time_constants(named) == {5.0}


@pytest.mark.parametrize(
    "name",
    ["sew_resnet18", pytest.param("spiking_resnet18", marks=pytest.mark.full), "ms_resnet18"],
)
def test_uniform_slim_narrows_what_width_does_not(name: str) -> None:
    """A quarter of every width, the streams between the blocks too, and it trains."""
    torch.manual_seed(0)
    whole = build(name, classes=5, channels=3, T=2)
    x = torch.randn(2, 3, 16, 16)
    narrow = mg.UniformSlim(whole, sparsity=0.75, example_input=x).compact().model
    for before, after in zip(whole.modules(), narrow.modules(), strict=True):
        if isinstance(before, nn.Conv2d):
            assert after.out_channels == before.out_channels // 4
            assert after.in_channels == max(3, before.in_channels // 4)
    mg.reset(narrow)
    narrow.train()(x).square().sum().backward()
    gradients = [p.grad for p in narrow.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("sew_resnet18", {"channels": 1}, "3 channels"),
        ("sew_resnet18", {"width": 0.5}, r"narrow it by mg\.UniformSlim"),
        ("sew_resnet18", {"cnf": "OR"}, "ADD, AND, IAND"),
        ("spiking_resnet18", {"cnf": "ADD"}, "SEW-ResNets"),
        ("ms_resnet18", {"tau": 3.0}, "brings its own neuron"),
        ("sew_resnet19", {}, "Did you mean 'sew_resnet18'"),
    ],
)
def test_refuses_what_a_network_does_not_have(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **settings_with(settings))
