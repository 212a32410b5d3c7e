"""Batches of sequences: time first, whole, reproducible, and fit for `train`."""

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import microglia as mg
from microglia.data.sequence_batches import SequenceBatches
from microglia.data.sequences import Sequences
from microglia.errors import ConfigError
from microglia.metrics import measure_accuracy
from microglia.training import TrainingConfig, build_optimizer, train


def waves(count: int, *, seed: int = 0) -> Sequences:
    """[N, 9, 4]: which of three channels is loud is the class; the fourth is noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    values = 0.2 * torch.randn(count, 9, 4, generator=generator)
    values[torch.arange(count), :, labels] += 1.5
    return Sequences(values, torch.full((count,), 9), labels, tuple("abc"), "waves")


def whole(batches: SequenceBatches) -> tuple[Tensor, Tensor]:
    values, labels = zip(*batches, strict=True)
    return torch.cat(values, dim=1), torch.cat(labels)


@pytest.mark.parametrize("count", [1, 8, 21])
def test_a_pass_takes_each_sequence_once_time_first(count: int) -> None:
    sequences = waves(count)
    batches = SequenceBatches(sequences, batch_size=8, shuffle=False)
    assert [x.shape[1] for x, _ in batches] == [8] * (count // 8) + [count % 8] * (count % 8 > 0)
    values, labels = whole(batches)
    assert len(batches) == -(-count // 8)
    assert torch.equal(values.transpose(0, 1), sequences.values)
    assert torch.equal(labels, sequences.labels)


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    sequences = waves(30)
    one, other = (SequenceBatches(sequences, batch_size=8, seed=3) for _ in range(2))
    first, second = whole(one), whole(one)
    other.set_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(whole(other), second, strict=True))
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], whole(SequenceBatches(sequences, batch_size=8, seed=4))[0])


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"batch_size": 0}, {"batch_size": 2, "seed": -1}):
        with pytest.raises(ConfigError, match="expected"):
            SequenceBatches(waves(4), **settings)


def test_a_network_of_linear_layers_is_trained_pruned_and_compacted() -> None:
    model = nn.Sequential(
        layer.Linear(4, 16, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
        layer.Linear(16, 3, step_mode="m"),
    )
    batches = SequenceBatches(waves(64), batch_size=16)
    config = TrainingConfig(epochs=10, learning_rate=3e-2)
    optimizer = build_optimizer(model, config)
    pruner = mg.SCA(
        model,
        sparsity=0.5,
        linear=True,
        example_input=next(iter(batches))[0],
        optimizer=optimizer,
        every=4,
        until=16,
    )
    train(model, batches, config=config, optimizer=optimizer, pruner=pruner, progress=False)
    small = pruner.compact().model
    assert small[0].out_features == 8
    unseen = SequenceBatches(waves(60, seed=1), batch_size=20, shuffle=False)
    assert measure_accuracy(small, unseen, forward=lambda net, x: net(x).mean(0)) > 0.8
