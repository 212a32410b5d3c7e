"""Law: the streamed counts equal what whole spike trains show."""

from __future__ import annotations

import pytest
import torch
from spiking_networks import PlainNet, TwoConvs, batches, excite, networks
from torch import Tensor, nn

from microglia.frameworks import first_tensor, neuron_kind, reset, spiking_neurons
from microglia.metrics import measure_activity


def spike_trains(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """[steps, *shape] by neuron layer, every spike kept."""
    trains: dict[str, list[Tensor]] = {name: [] for name in spiking_neurons(model)}

    def keep(name: str, multi_step: bool) -> object:
        def hook(module: nn.Module, args: object, output: object) -> None:
            spikes = first_tensor(output)
            trains[name].append(spikes.flatten(0, 1) if multi_step else spikes)

        return hook

    handles = []
    for name, neuron in spiking_neurons(model).items():
        kind = neuron_kind(neuron)
        assert kind is not None
        handles.append(neuron.register_forward_hook(keep(name, kind.multi_step(neuron))))
    model.eval()
    with torch.no_grad():
        for x, _ in data:
            reset(model)
            model(x)
    reset(model)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in trains.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_rates_dead_and_saturated(seed: int) -> None:
    for model, data, T in networks(seed=seed):
        activity = measure_activity(model, data)
        trains = spike_trains(model, data)

        assert [layer.name for layer in activity.layers] == list(trains)
        for layer in activity.layers:
            train = trains[layer.name]
            assert layer.shape == tuple(train.shape[1:])
            assert layer.steps == 8 * T
            assert layer.firing_rate == pytest.approx(float(train.double().mean()), abs=1e-12)
            assert layer.dead == int((train == 0).all(0).sum())
            assert layer.saturated == int((train != 0).all(0).sum())
        everything = torch.cat([train.flatten() for train in trains.values()]).double()
        assert activity.firing_rate == pytest.approx(float(everything.mean()), abs=1e-12)
        assert 0 < activity.firing_rate < 1
        assert activity.neurons == sum(train[0].numel() for train in trains.values())


def test_known_dead_and_saturated_neurons() -> None:
    model = PlainNet(T=4)
    with torch.no_grad():
        model.fc1.weight.zero_()
        model.fc1.bias.copy_(torch.tensor([0.0, 0.4, 0.6, 1.0, 3.0]))
    (layer,) = measure_activity(model, batches(seed=0, shape=(6,))).layers
    # A constant current of 0.6 charges 0.6, 0.9, 1.05: it fires, though not always.
    assert (layer.neurons, layer.dead, layer.saturated) == (5, 2, 2)
    assert layer.spikes == 8 * (4 + 4 + 1)


def test_a_dead_neuron_must_be_silent_in_all_batches() -> None:
    model = PlainNet(T=1)
    with torch.no_grad():
        model.fc1.weight.copy_(torch.eye(5, 6) * 2)
        model.fc1.bias.zero_()
    x = torch.eye(5, 6)
    labels = torch.zeros(5, dtype=torch.long)
    one_by_one = [(x[i : i + 1], labels[:1]) for i in range(3)]
    activity = measure_activity(model, one_by_one)
    assert (activity.dead, activity.saturated) == (2, 0)


def test_a_network_that_does_not_spike_has_no_rate() -> None:
    activity = measure_activity(nn.Linear(6, 3), batches(seed=0, shape=(6,)))
    assert activity.layers == ()
    assert activity.firing_rate is None


def test_multi_step_and_single_step_agree() -> None:
    data = batches(seed=2, shape=(2, 8, 8))
    multi, single = (
        measure_activity(excite(TwoConvs(way, T=3), seed=2), data) for way in ("multi", "single")
    )
    assert multi == single
