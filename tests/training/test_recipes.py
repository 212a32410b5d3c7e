"""Losses follow their equations, and each part of a recipe does what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_classifiers import CLASSES, NETWORKS, OverTime, OwnNeuron, Stripes
from torch import Tensor, nn
from torch.nn import functional as F

import microglia as mg
from microglia.errors import TrainingError
from microglia.gates import WeightMasks
from microglia.methods import METHODS
from microglia.networks import build
from microglia.training import TrainingConfig, build_optimizer, train
from microglia.training.losses import classification_loss, firing_rate


def loss(output: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    return classification_loss(output, labels, TrainingConfig(**settings))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_by_hand(seed: int) -> None:
    torch.manual_seed(seed)
    T, N = 3, 5
    z, y = torch.randn(T, N, CLASSES, dtype=torch.float64), torch.randint(CLASSES, (N,))
    one_hot = torch.eye(CLASSES, dtype=torch.float64)[y]
    log = z - z.exp().sum(-1, keepdim=True).log()
    each = [-(log[t] * one_hot).sum(1).mean() for t in range(T)]
    squares = [(z[t] - 1).square().mean() for t in range(T)]
    mean = z.mean(0)
    log_mean = mean - mean.exp().sum(-1, keepdim=True).log()
    expected = {
        "cross-entropy": -(log_mean * one_hot).sum(1).mean(),
        "tet": sum(0.7 * a + 0.3 * b for a, b in zip(each, squares, strict=True)) / T,
        "mse-rate": (mean - one_hot).square().sum(1).mean(),
    }
    for name, value in expected.items():
        assert torch.allclose(loss(z, y, loss=name, tet_share=0.3), torch.as_tensor(value)), name
    for name in ("cross-entropy", "mse-rate"):
        assert torch.allclose(loss(mean, y, loss=name), loss(z, y, loss=name))
    smooth = F.cross_entropy(mean, y, label_smoothing=0.2)
    assert torch.allclose(loss(z, y, label_smoothing=0.2), smooth)


def test_tet_wants_every_timestep() -> None:
    with pytest.raises(TrainingError, match=r"each timestep.*without the mean"):
        loss(torch.zeros(4, CLASSES), torch.zeros(4, dtype=torch.long), loss="tet")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_firing_rate_is_the_mean_of_all_spikes_and_has_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    x = torch.randn(5, 1, 6, 6)
    counts: list[Tensor] = []
    neurons = [m for m in model.modules() if mg.frameworks.neuron_kind(m) is not None]
    for neuron in neurons:
        neuron.register_forward_hook(
            lambda m, args, out: counts.append((out[0] if isinstance(out, tuple) else out).detach())
        )
    mg.reset(model)
    with firing_rate(model) as rate:
        model(x)
        measured = rate()
    expected = sum(c.sum() for c in counts) / sum(c.numel() for c in counts)
    assert measured > 0
    assert torch.allclose(measured, torch.as_tensor(expected))
    measured.backward()
    first = next(p for p in model.parameters() if p.ndim == 4)
    assert first.grad is not None
    assert first.grad.any()
    assert all(len(n._forward_hooks) == 1 for n in neurons), "ours are taken out again"


def test_activity_regularisation_lowers_the_firing_rate() -> None:
    rates = []
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        model = NETWORKS["spikingjelly"]()
        config = TrainingConfig(epochs=4, learning_rate=2e-2, activity=weight)
        history = train(model, Stripes(), config=config, progress=False)
        mg.reset(model.eval())
        with torch.no_grad(), firing_rate(model) as rate:
            model(next(iter(Stripes()))[0])
            rates.append(float(rate()))
    assert history.epochs[0].penalty > 0
    assert rates[1] < 0.7 * rates[0]


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_moving_average_is_what_training_leaves(decay: float) -> None:
    """Against an average taken by hand over the same steps."""
    torch.manual_seed(0)
    plain, averaged = NETWORKS["spikingjelly"](), NETWORKS["spikingjelly"]()
    averaged.load_state_dict(plain.state_dict())
    steps: list[dict[str, Tensor]] = []

    class Keep(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            done = super().step(*args, **kwargs)
            steps.append({n: p.detach().clone() for n, p in plain.named_parameters()})
            return done

    config = TrainingConfig(epochs=2, optimizer="sgd", warmup_epochs=0.0)
    for model, optimizer, settings in (
        (plain, Keep(plain.parameters(), lr=0.1), config),
        (
            averaged,
            torch.optim.SGD(averaged.parameters(), lr=0.1),
            TrainingConfig(epochs=2, optimizer="sgd", warmup_epochs=0.0, ema=decay),
        ),
    ):
        torch.manual_seed(1)
        train(model, Stripes(), config=settings, optimizer=optimizer, progress=False)
    by_hand = steps[0]
    for later in steps[1:]:
        by_hand = {n: decay * by_hand[n] + (1 - decay) * later[n] for n in by_hand}
    for name, parameter in averaged.named_parameters():
        assert torch.allclose(parameter, by_hand[name], atol=1e-6), name


def test_an_averaged_network_is_pruned_as_its_gates_say() -> None:
    torch.manual_seed(0)
    model = NETWORKS["spikingjelly"]()
    config = TrainingConfig(epochs=3, ema=0.9)
    optimizer = build_optimizer(model, config)
    x = next(iter(Stripes()))[0]
    pruner = mg.SCA(model, sparsity=0.5, example_input=x, optimizer=optimizer, every=4)
    train(model, Stripes(), config=config, optimizer=optimizer, pruner=pruner, progress=False)
    assert pruner.sparsity_reached == 0.5
    assert pruner.compact().certificate is not None


@pytest.mark.parametrize("method", ["stds", "random-weights"])
def test_an_averaged_network_has_no_closed_weights(method: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS["spikingjelly"]()
    config = TrainingConfig(epochs=3, ema=0.9)
    optimizer = build_optimizer(model, config)
    settings = {"every": 2, "until": 8} if method == "stds" else {}
    pruner = METHODS[method](
        model,
        sparsity=0.8,
        example_input=next(iter(Stripes()))[0],
        optimizer=optimizer,
        **settings,
    )
    train(model, Stripes(), config=config, optimizer=optimizer, pruner=pruner, progress=False)
    assert isinstance(pruner.masks, WeightMasks)
    for name, weight in pruner.masks.weights.items():
        assert not weight.detach()[~pruner.masks.mask(name)].any(), name


class Seen(nn.Module):
    """A network that writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = OverTime(OwnNeuron)
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach().clone())
        out: Tensor = self.inner(x)
        return out


def test_mixup_mixes_each_sample_with_another_of_its_batch() -> None:
    torch.manual_seed(0)
    batches = [(torch.eye(36).reshape(36, 1, 6, 6)[:8], torch.zeros(8, dtype=torch.long))]
    model = Seen()
    train(model, batches, config=TrainingConfig(epochs=3, mixup=1.0), progress=False)
    shares = set()
    for given in model.inputs:
        flat = given.flatten(1)
        assert torch.allclose(flat.sum(1), torch.ones(8)), "shares add up to one"
        assert bool((flat.max(1).values >= 0.5 - 1e-6).all()), "the sample's own is the larger"
        shares.add(round(float(flat.max(1).values.min()), 4))
    assert len(shares) == 3, "the share is drawn anew for each batch"


def test_mixup_leaves_the_order_of_frames() -> None:
    """Also where there are as many samples as frames."""
    from microglia.training.module import _mixed

    torch.manual_seed(0)
    frames = torch.arange(1.0, 5).reshape(4, 1, 1, 1, 1).expand(4, 4, 2, 3, 3)
    frames = frames * torch.tensor([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1, 1)
    for _ in range(5):
        mixed, labels, share = _mixed(frames, torch.arange(4), alpha=1.0)
        for t in range(4):
            assert torch.allclose(mixed[t], mixed[0] * (t + 1))
        expected = share * frames[0] + (1 - share) * frames[0, labels]
        assert torch.allclose(mixed[0], expected)


@pytest.mark.parametrize("name", ["digits", "preresnet20"])
def test_our_networks_learn_by_tet(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, classes=CLASSES, channels=1, size=8, T=3, width=0.5)
    x = torch.rand(4, 1, 8, 8)
    batches = [(x, torch.tensor([0, 1, 2, 0]))]
    config = TrainingConfig(epochs=8, learning_rate=1e-2, loss="tet")
    history = train(model, batches, config=config, progress=False)
    assert history.epochs[-1].loss < history.epochs[0].loss
    mg.reset(model)
    assert model(x).shape == (4, CLASSES), "afterwards it averages again"
