"""Lyapunov noise pruning of torch networks: which weights are synapses, and which neurons go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import microglia as mg
from microglia.frameworks import (
    RecurrentNetwork,
    from_factors,
    recurrent_network,
    register_recurrent,
)
from microglia.lyapunov import linear_stability
from microglia.lyapunov.sampling import water_filling
from microglia.networks import HRSNN, HRSNNConfig, SmallWorld
from zoo import make

RECURRENT = {
    "recurrent, multi-step": "rec.rc.weight",
    "recurrent, single-step": "body.rec.rc.weight",
    "recurrent, hand-written": "w_rec.weight",
    "snnTorch": "lif3.recurrent.weight",
}
READER = {
    "recurrent, multi-step": "mid.weight",
    "recurrent, single-step": "body.mid.weight",
    "recurrent, hand-written": "out.weight",
    "snnTorch": "fc2.weight",
}


def lnp(network: str, **settings: Any) -> tuple[nn.Module, Tensor, mg.LNP]:
    model, x = make(network, seed=settings.get("seed", 0))
    return model, x, mg.LNP(model, example_input=x, **{"sparsity": 0.7} | settings)


@pytest.mark.parametrize("network", RECURRENT)
def test_nothing_but_recurrent_synapses_is_touched(network: str) -> None:
    plain, _ = make(network)
    model, _, pruner = lnp(network)
    name = RECURRENT[network]
    assert pruner.sizes() == {name: 100}
    for (other, before), after in zip(plain.named_parameters(), model.parameters(), strict=True):
        if other != name:
            assert torch.equal(before, after)
    before, after = plain.get_parameter(name), model.get_parameter(name)
    inputs = before.shape[1] - 10  # of a joint weight, which SpikingJelly has
    assert torch.equal(before[:, :inputs], after[:, :inputs])
    open_ = after[:, inputs:] != 0
    assert int(open_.sum()) == 30
    assert torch.equal(after[:, inputs:][open_], before[:, inputs:][open_])


@pytest.mark.parametrize("network", RECURRENT)
@pytest.mark.parametrize("seed", [0, 1])
def test_rescaled_synapses_are_divided_by_their_probability(network: str, seed: int) -> None:
    name = RECURRENT[network]
    before = lnp(network, seed=seed, sparsity=0.0)[0].get_parameter(name).detach()
    model, _, pruner = lnp(network, seed=seed, rescale="full")
    p = water_filling(pruner.last_scores[name].numpy(), 30)
    open_ = pruner.masks.keep()[name]
    now = pruner.masks.units_of(name, model.get_parameter(name).detach())[open_]
    whole = pruner.masks.units_of(name, before)[open_]
    assert torch.allclose(now, whole / torch.from_numpy(p).to(whole)[open_])
    assert not torch.allclose(now, whole)


@pytest.mark.parametrize("network", RECURRENT)
@pytest.mark.parametrize("rescale", ["none", "full"])
def test_in_rounds_the_budget_is_the_same(network: str, rescale: str) -> None:
    name = RECURRENT[network]
    _, x, pruner = lnp(network, neurons=0.3, rounds=3, rescale=rescale)
    assert int(pruner.masks.keep()[name].sum()) == 30
    small = pruner.compact()
    assert small.model.get_parameter(name).shape[0] == 7
    small.model(x)
    _, _, once = lnp(network, neurons=0.3, rescale=rescale)
    assert not torch.equal(once.masks.keep()[name], pruner.masks.keep()[name])


@pytest.mark.parametrize("network", RECURRENT)
@pytest.mark.parametrize("seed", [0, 1])
def test_removed_neurons_are_gone_after_compaction(network: str, seed: int) -> None:
    model, _, pruner = lnp(network, sparsity=0.8, neurons=0.3, seed=seed)
    name = RECURRENT[network]
    assert pruner.kept() == {name: 20}
    assert pruner.sparsity_reached == pytest.approx(0.8)
    small = pruner.compact().model
    assert small.get_parameter(name).shape[0] == 7
    assert int((small.get_parameter(name)[:, -7:] != 0).sum()) == 20
    assert int((model.get_parameter(name)[:, -10:] != 0).sum()) == 20


@pytest.mark.parametrize("network", RECURRENT)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_each_neuron_lost_and_kept_is_the_graph(network: str, seed: int) -> None:
    _, _, pruner = lnp(network, sparsity=0.6, neurons=0.3, seed=seed)
    mask = pruner.masks.mask(RECURRENT[network])[:, -10:].cpu()
    stay = pruner.masks.mask(READER[network]).cpu().any(0)
    assert int(stay.sum()) == 7
    assert not mask[~stay].any()
    assert not mask[:, ~stay].any()
    removed, kept = (~mask).sum(1), mask.sum(1)
    assert int(removed.sum()) == 60
    small = pruner.compact().model.get_parameter(RECURRENT[network])[:, -7:]
    assert torch.equal(small != 0, mask[stay][:, stay])
    assert torch.equal((small != 0).sum(1), kept[stay])
    assert torch.equal(10 - removed[stay], kept[stay])


def layers() -> dict[str, nn.Module]:
    return {
        "SpikingJelly": layer.LinearRecurrentContainer(neuron.LIFNode(), 40, 40, step_mode="m"),
        "parametric": layer.LinearRecurrentContainer(
            neuron.ParametricLIFNode(3.0, decay_input=False, v_reset=None), 40, 40, step_mode="m"
        ),
        "RLeaky": snn.RLeaky(beta=torch.linspace(0.5, 0.95, 40), linear_features=40),
        "RLeaky, zero": snn.RLeaky(beta=0.9, linear_features=40, reset_mechanism="zero"),
        "RSynaptic": snn.RSynaptic(alpha=0.8, beta=0.9, linear_features=40),
    }


class Through(nn.Module):
    """One recurrent layer over [T, N, 40]."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.inside, layer.LinearRecurrentContainer):
            return self.inside(x)  # type: ignore[no-any-return]
        state, out = self.inside.reset_mem(), []
        for current in x:
            state = self.inside(current, *state)
            out.append(state[0])
        return torch.stack(out)


@pytest.mark.parametrize("kind", layers())
@pytest.mark.parametrize("calibrate", ["none", "deviation"])
def test_default_paths_leave_frameworks_layers_stable(kind: str, calibrate: str) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        model = Through(layers()[kind])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3)  # so that it fires
        mg.LNP(
            model,
            example_input=torch.rand(2, 1, 40),
            sparsity=0.7,
            calibrate=calibrate,
            seed=seed,
        )
        found = linear_stability(recurrent_network(model.inside), seed=seed)
        assert found.stable
        assert found.reach != 0


def test_training_doesnt_bring_removed_neurons_back() -> None:
    model, x, pruner = lnp("recurrent, multi-step", neurons=0.4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    pruner.hold(optimizer)
    closed = model.get_parameter("mid.weight") == 0
    for _ in range(3):
        mg.reset(model)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        pruner.step()
    assert torch.equal(model.get_parameter("mid.weight") == 0, closed)
    assert pruner.compact().model.get_parameter("mid.weight").shape == (8, 6)


def test_a_state_brings_its_removed_neurons_along() -> None:
    _, _, pruner = lnp("recurrent, multi-step", neurons=0.4)
    model, x = make("recurrent, multi-step")
    other = mg.LNP(model, example_input=x, sparsity=0.7, neurons=0.4, seed=5)
    other.load_state_dict(pruner.state_dict())
    for name in ("mid.weight", "rec.rc.weight"):
        assert torch.equal(other.masks.mask(name), pruner.masks.mask(name))


def test_a_reset_that_is_read_as_synapses_is_no_synapse() -> None:
    """snnTorch's late "subtract" stands on the diagonal of W."""
    model, x = make("snnTorch")
    before = recurrent_network(model.lif3)
    pruner = mg.LNP(model, example_input=x, sparsity=0.9)
    after = recurrent_network(model.lif3)
    assert pruner.kept() == {"lif3.recurrent.weight": 10}
    weight = model.lif3.recurrent.weight.detach()
    for i in range(10):
        assert after.weights[i, i] == pytest.approx(
            before.weights[i, i] if weight[i, i] != 0 else -1.0
        )


def test_weights_that_are_zero_are_no_synapses_and_stay_zero() -> None:
    model, x = make("recurrent, multi-step")
    with torch.no_grad():
        model.rec.rc.weight[:5, 10:] = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    pruner = mg.LNP(model, example_input=x, sparsity=0.4, optimizer=optimizer)
    assert pruner.sizes() == {"rec.rc.weight": 50}
    assert pruner.kept() == {"rec.rc.weight": 30}
    for _ in range(2):
        mg.reset(model)
        model(x).square().sum().backward()
        optimizer.step()
        pruner.step()
    assert int((model.rec.rc.weight[:, 10:] != 0).sum()) == 30


@pytest.mark.parametrize("how", ["deviation", "memory"])
def test_a_gain_multiplies_what_stays_and_none_is_the_default(how: str) -> None:
    model, _, _ = lnp("recurrent, multi-step")
    plain = model.get_parameter("rec.rc.weight")
    scaled, _, _ = lnp("recurrent, multi-step", calibrate=how)
    weight = scaled.get_parameter("rec.rc.weight")
    open_ = plain[:, 10:] != 0
    ratio = (weight[:, 10:][open_] / plain[:, 10:][open_]).detach()
    assert ratio.std() < 1e-5 * ratio.mean()
    assert abs(float(ratio.mean()) - 1) > 1e-3
    assert torch.equal(weight[:, :10], plain[:, :10])


def recurrent_layer(N: int = 12) -> nn.Module:
    inside = layer.LinearRecurrentContainer(neuron.LIFNode(), N, N, step_mode="m")
    with torch.no_grad():
        for weight in inside.parameters():
            weight.mul_(3).add_(0.2)
    return inside


class Two(nn.Module):
    """Two recurrent layers in a row, or one twice."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.inp, self.out = (layer.Linear(12, n, step_mode="m") for n in (12, 5))
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(self.inp(x))))  # type: ignore[no-any-return]


def test_what_the_loop_does_to_every_layer_is_done_to_each() -> None:
    torch.manual_seed(0)
    model = Two(recurrent_layer(), recurrent_layer())
    pruner = mg.LNP(model, example_input=torch.rand(2, 3, 12), sparsity=0.75)
    assert pruner.kept() == {"a.rc.weight": 36, "b.rc.weight": 36}


@pytest.mark.parametrize("neurons", [0.0, 0.25])
def test_a_layer_used_twice_has_its_synapses_once(neurons: float) -> None:
    torch.manual_seed(0)
    model = Two(one := recurrent_layer(), one)
    x = 3 * torch.rand(4, 3, 12)
    pruner = mg.LNP(model, example_input=x, sparsity=0.75, neurons=neurons)
    assert pruner.sizes() == {"a.rc.weight": 144}
    assert pruner.kept() == {"a.rc.weight": 36}
    small = pruner.compact().model
    assert small.a is small.b
    assert small.get_parameter("a.rc.weight").shape[0] == 12 - round(12 * neurons)


def test_layers_that_share_a_weight_are_refused_by_name() -> None:
    model = Two(recurrent_layer(), recurrent_layer())
    model.b.rc.weight = model.a.rc.weight  # type: ignore[union-attr]
    with pytest.raises(mg.ConfigError, match="b: has the weight of 'a'"):
        mg.LNP(model, example_input=torch.rand(4, 3, 12), sparsity=0.5)


class Around(Through):
    """A layer with something around it, which its reader knows."""


class Beside(Around):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__(inside)
        self.w = nn.Linear(40, 40)


def read_around(module: Around, dt: float) -> RecurrentNetwork:
    """Quiet, so that whoever reads it is heard of."""
    return replace(recurrent_network(module.inside, dt), bias=np.full(40, -100.0))


register_recurrent(Around, read_around, weight="inside.recurrent.weight")
register_recurrent(Beside, read_around, weight="w.weight")


def test_of_layers_inside_each_other_the_outer_one_is_read() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 40)
    with pytest.raises(mg.ConfigError, match=r"inside\.recurrent\.weight: no neuron fired"):
        mg.LNP(Around(layers()["RLeaky"]), example_input=x, sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="inside: stands inside 'Beside'"):
        mg.LNP(Beside(layers()["RLeaky"]), example_input=x, sparsity=0.5)


def test_a_reader_that_does_not_look_at_the_weight_is_noticed() -> None:
    class Deaf(Beside):
        pass

    register_recurrent(Deaf, read_around, weight="w.weight")
    model = Deaf(nn.Identity())
    model.inside = layer.LinearRecurrentContainer(
        nn.Sequential(nn.Linear(40, 40), neuron.LIFNode()), 40, 40, step_mode="m"
    )
    with pytest.raises(mg.ConfigError, match="row i"):
        mg.LNP(model, example_input=torch.rand(2, 1, 40), sparsity=0.5)


def test_budgets_and_gains_that_cannot_be_name_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(mg.ConfigError, match=r"^rec\.rc\.weight: budget: 90 synapses wanted"):
        lnp("recurrent, multi-step", sparsity=0.1, neurons=0.5)
    monkeypatch.setattr("microglia.methods.lnp.memory_capacity", lambda net: float("nan"))
    with pytest.raises(mg.ConfigError, match=r"^rec\.rc\.weight: metric"):
        lnp("recurrent, multi-step", calibrate="memory")


def test_networks_without_recurrence_are_refused_and_left_alone() -> None:
    model, x = make("chain")
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match="no recurrence"):
        mg.LNP(model, example_input=x, sparsity=0.5)
    assert list(model.state_dict()) == keys


def test_a_layer_without_a_synapse_has_no_recurrence() -> None:
    model, x = make("recurrent, multi-step")
    with torch.no_grad():
        model.rec.rc.weight[:, 10:] = 0
    with pytest.raises(mg.ConfigError, match=r"rec: .*no recurrence"):
        mg.LNP(model, example_input=x, sparsity=0.5)


def test_a_silent_layer_is_named_and_left_alone() -> None:
    model, x = make("recurrent, multi-step")
    with torch.no_grad():
        model.rec.rc.bias.fill_(-100)
    keys = list(model.state_dict())
    with pytest.raises(mg.ConfigError, match=r"rec\.rc\.weight: no neuron fired.*drive"):
        mg.LNP(model, example_input=x, sparsity=0.5)
    assert list(model.state_dict()) == keys


def test_sparse_networks_of_our_own_are_told_the_way() -> None:
    config = HRSNNConfig(neurons=40, inputs=3, wiring=SmallWorld(neighbours=8))
    with pytest.raises(mg.ConfigError, match="prune_recurrent"):
        mg.LNP(HRSNN(config), example_input=torch.rand(2, 1, 3), sparsity=0.5)


def test_a_reader_that_turns_the_weight_round_is_noticed() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = snn.Leaky(beta=0.9)
            self.w = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            mem, s = self.cell.reset_mem(), torch.zeros_like(x)
            for _ in range(2):
                s, mem = self.cell(x + self.w(s), mem)
            return s

    def read(module: Turned, dt: float) -> RecurrentNetwork:
        W = module.w.weight.detach().double().numpy()
        return from_factors(
            beta=0.9,
            weights=W.T,
            inputs=np.eye(6),
            bias=np.zeros(6),
            threshold=1.0,
            reset="zero",
            dt=dt,
        )

    register_recurrent(Turned, read, weight="w.weight")
    torch.manual_seed(0)
    with pytest.raises(mg.ConfigError, match="row i"):
        mg.LNP(Turned(), example_input=torch.rand(3, 6), sparsity=0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"neurons": 1.0},
        {"reading": "R3"},
        {"calibrate": "twice"},
        {"dt": 0.0},
        {"drive": -1.0},
        {"criterion": "luck"},
        {"rounds": 0},
        {"rescale": "twice"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(mg.ConfigError, match=next(iter(settings))):
        lnp("recurrent, multi-step", **settings)
