"""UPR's masks of neurons: soft while they are learned, binary at the end, and there to stay."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import test_contract as contract
import test_weight_contract as weight_contract
import torch
from test_contract import Loop
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import microglia as mg
from microglia.frameworks import first_tensor, neuron_masks
from microglia.methods import UPR
from microglia.methods.parts.neuron_gates import NeuronGates
from microglia.runtime import accelerate
from microglia.structure.cost import fan_out, macs
from zoo import make, same

NETWORKS = [*contract.NETWORKS, "concatenation, groups", "SEW-ResNet"]
CONTRACT = [
    contract.test_the_budget_is_exact_and_no_layer_is_emptied,
    contract.test_the_same_seed_gives_the_same_masks,
    contract.test_resume_equals_straight_run,
    contract.test_compacted_computes_what_masked_computes,
    weight_contract.test_hold_keeps_the_masks_under_another_optimizer,
]
OF_ONE_NETWORK = [
    contract.test_asking_whether_an_update_is_due_changes_nothing,
    contract.test_detach_gives_the_users_own_network_back,
    contract.test_only_optimizer_steps_count,
    contract.test_a_loop_that_runs_the_network_within_the_step_prunes_the_same,
    contract.test_a_refused_network_is_left_alone,
    contract.test_a_network_holds_one_pruner_at_a_time,
]


class Both(UPR):
    """Weights and neurons, as the paper's."""

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        super().__init__(model, **{"neurons": True} | settings)


@pytest.mark.parametrize("law", CONTRACT)
@pytest.mark.parametrize("network", contract.NETWORKS)
def test_the_contract_holds_with_neurons_too(law: Any, network: str) -> None:
    law(Both, network, *([0.5] if "budget" in law.__name__ else []))


@pytest.mark.parametrize("law", OF_ONE_NETWORK)
def test_the_contract_of_one_network_holds_too(law: Any) -> None:
    law(Both)


def both(network: str, *, steps: int = 12, **settings: Any) -> tuple[Loop, NeuronGates]:
    """Trained so that some neurons close, not all."""
    settings = {"until": 12, "every": 4, "strength": 1e-4, "neurons": True} | settings
    loop = Loop(UPR, network, **settings)
    loop.run(steps)
    assert isinstance(loop.pruner, UPR)
    assert loop.pruner.neurons is not None
    return loop, loop.pruner.neurons


def spikes_of(model: nn.Module, loop: Loop) -> dict[str, Tensor]:
    """What each neuron layer lets be seen in eval mode."""
    seen: dict[str, Tensor] = {}
    names = {m: n for n, m in model.named_modules()}

    def look(m: nn.Module, args: Any, out: Any) -> None:
        seen[names[m]] = first_tensor(out).detach()

    hooks = [model.get_submodule(n).register_forward_hook(look) for n in neuron_masks(model)]
    loop.logits(model.eval())
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("network", NETWORKS)
def test_masks_are_binary_and_closed_neurons_are_silent_at_the_end(network: str) -> None:
    loop, gates = both(network)
    closed = 0
    seen = spikes_of(loop.model, loop)
    for name, mask in neuron_masks(loop.model).items():
        assert mask.dtype == torch.bool
        assert torch.equal(mask, gates.gates[name] >= 0) or int(mask.sum()) == 1
        assert not seen[name][..., ~mask].any()
        assert set(seen[name].unique().tolist()) <= {0.0, 1.0}
        assert mask.any()
        closed += int((~mask).sum())
    assert 0 < closed < sum(gates.sizes().values())
    alphas = copy.deepcopy(gates.gates)
    masks = {n: m.clone() for n, m in neuron_masks(loop.model).items()}
    loop.model.train()
    loop.run(3)
    assert same(gates.gates, alphas)
    assert same(neuron_masks(loop.model), masks)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("steps", [12, 7])
def test_compacted_and_reloaded_compute_what_masked_computes(
    network: str, steps: int, tmp_path: Path
) -> None:
    """Also while masks are soft, which are then as they would be at the end."""
    loop, gates = both(network, steps=steps, sparsity=0.9)
    before = copy.deepcopy((loop.model.state_dict(), loop.pruner.state_dict()))
    small = loop.pruner.compact()
    assert same((loop.model.state_dict(), loop.pruner.state_dict()), before)
    assert small.certificate is not None
    assert small.certificate.spikes > 0
    masks = neuron_masks(small.model)
    assert set(masks) == set(gates.sizes())
    assert sum(int((~m).sum()) for m in masks.values()) > 0
    mg.save(small, tmp_path / "net")
    back = mg.load(tmp_path / "net", make(network, T=2)[0])
    assert same(back.state_dict(), small.model.state_dict())
    assert torch.equal(loop.logits(back), loop.logits(small.model.eval()))
    if steps == 12:
        masked = loop.logits(loop.model.eval())
        assert torch.allclose(masked, loop.logits(small.model), atol=1e-5)
        mg.reset(small.model)
        unmasked = copy.deepcopy(small.model)
        for mask in neuron_masks(unmasked).values():
            mask.fill_(True)
        assert not torch.allclose(masked, loop.logits(unmasked), atol=1e-3)


def test_a_network_whose_masks_are_learned_can_be_pickled() -> None:
    loop, _ = both("chain", steps=7)
    mg.reset(loop.model)
    again = pickle.loads(pickle.dumps(loop.model.eval()))
    small = loop.pruner.compact().model.eval()
    assert same(neuron_masks(again), neuron_masks(loop.model))
    loop.pruner.detach()
    again.load_state_dict(loop.model.state_dict(), strict=False)
    assert torch.allclose(loop.logits(again), loop.logits(small), atol=1e-5)


@pytest.mark.parametrize("network", ["chain", "pre-activation", "SEW-ResNet"])
def test_the_fastest_path_has_the_masks_too(network: str) -> None:
    loop, _ = both(network)
    small = loop.pruner.compact().model.double().eval()
    loop.x = loop.x.double()
    fast = accelerate(small, example_input=loop.example)
    assert same(neuron_masks(fast), neuron_masks(small))
    assert torch.allclose(loop.logits(fast), loop.logits(small), atol=1e-6)


def test_a_mask_loses_the_channels_that_are_cut() -> None:
    loop, _ = both("chain", steps=7)
    mask = neuron_masks(loop.model)["body.6"]
    structure = mg.analyse(loop.model, loop.example)
    keep = {"body.4": torch.arange(12) % 3 > 0}
    small = mg.surgery.cut(loop.model, structure, keep)[0]
    assert torch.equal(neuron_masks(small)["body.6"], mask[keep["body.4"]])


@pytest.mark.parametrize("network", ["chain", "snnTorch"])
def test_a_compacted_network_is_pruned_again_and_keeps_its_masks(network: str) -> None:
    loop, _ = both(network)
    small = loop.pruner.compact().model
    masks = copy.deepcopy(neuron_masks(small))
    pruner = mg.Random(small, example_input=loop.example, sparsity=0.3)
    smaller = pruner.compact()
    keep = pruner.masks.keep()
    for group in pruner.structure.groups:
        for site in group.neurons:
            if site.module in masks:
                left = keep[group.name][site.channel]
                assert torch.equal(
                    neuron_masks(smaller.model)[site.module], masks[site.module][left]
                )
    pruner.detach()
    assert same(neuron_masks(small), masks)
    with pytest.raises(mg.ConfigError, match="masks already"):
        UPR(
            small,
            example_input=loop.example,
            optimizer=torch.optim.SGD(small.parameters(), 0.1),
            every=1,
            until=2,
            neurons=True,
        )
    assert same(neuron_masks(small), masks)


@pytest.mark.parametrize("network", ["chain", "snnTorch", "SEW-ResNet"])
def test_gradients_are_those_of_the_graph_with_gates_in_it(network: str) -> None:
    loop, gates = both(network, steps=4, strength=1e-4, until=100, every=50)
    beta = 5 * 200 ** (4 / 100)
    alphas = {n: g.detach().clone().requires_grad_() for n, g in gates.gates.items()}
    soft = {n: torch.sigmoid(beta * a) for n, a in alphas.items()}
    hooks = [loop.model.get_submodule(n).register_forward_hook(_times(soft[n])) for n in alphas]
    gates._begun = False  # masks as they would be at the end, which are opened for this
    opened = {n + ".neuron_mask": torch.ones_like(a, dtype=torch.bool) for n, a in alphas.items()}
    torch.manual_seed(5)  # of dropout
    mg.reset(loop.model)
    out = functional_call(loop.model, opened, (loop.x,))
    out = out[1].mean(0) if isinstance(out, tuple) else out
    penalty = sum(gates.energy[n] * z.sum() for n, z in soft.items())
    (cross_entropy(out, loop.y[: len(out)]) + 1e-4 * penalty).backward()
    for hook in hooks:
        hook.remove()

    gates._begun = True
    seen: dict[str, Tensor] = {}
    loop.optimizer.register_step_pre_hook(
        lambda *_: seen.update({n: g.grad.clone() for n, g in gates.gates.items()})
    )
    torch.manual_seed(5)
    loop.run(1)
    assert all(gate.grad is None for gate in gates.gates.values())  # whoever clears the others
    for name, gradient in seen.items():
        assert torch.allclose(gradient, alphas[name].grad, rtol=1e-3, atol=1e-7)
        assert not torch.allclose(gradient, gradient.mean(), rtol=1e-2)  # the loss has a say


def _times(z: Tensor) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        masked = first_tensor(output) * z
        return masked if isinstance(output, Tensor) else (masked, *output[1:])

    return hook


def test_neurons_of_a_larger_fan_out_are_dearer() -> None:
    _, gates = both("chain", steps=0)
    weight_mean = (8 * 27 * 64 + 12 * 72 * 16 + 16 * 48 + 5 * 16) / (
        8 * 27 + 12 * 72 + 16 * 48 + 80
    )
    first, second = gates.energy["body.2"], gates.energy["body.6"]
    # Of 64 positions a channel, pooled to 16 that meet 12 kernels of 9; and of 16, pooled to 4.
    assert first == pytest.approx(12 * 9 * 16 / 64 / weight_mean)
    assert second == pytest.approx(16 * 4 / 16 / weight_mean)


READERS = {
    "pre-activation": {"body.blocks.0.sn1": ["body.blocks.0.conv1"], "body.sn": ["body.fc"]},
    "concatenation, groups": {"body.sn": ["body.mix"], "body.sn2": ["body.grouped"]},
    "snnTorch": {"lif1": ["conv2"], "lif2": ["fc1"], "lif4": []},
}


@pytest.mark.parametrize("network", [*NETWORKS, "MS-ResNet", "functional", "transformer MLP"])
def test_all_that_reads_spikes_is_some_neurons_fan_out(network: str) -> None:
    model, x = make(network)
    structure = mg.analyse(model, x)
    read = {u.layer: 0.0 for u in structure.uses}
    for use in structure.uses:
        macs_ = use.out[0].numel() * use.into[0].numel() / use.groups * use.kernel * use.places
        read[use.layer] += macs_ * bool(use.neurons)
    found = fan_out(structure)
    assert sum(found.values()) == pytest.approx(sum(read.values()))
    assert 0 < sum(read.values()) <= macs(structure, {})
    for neurons, layers in READERS.get(network, {}).items():
        assert found[neurons] == pytest.approx(sum(read[layer] for layer in layers))


def test_dearer_neurons_close_first() -> None:
    """Where the loss says nothing: gates that are pushed alike, by a penalty of their own."""
    _, gates = both("chain", steps=1)
    for gate in gates.gates.values():
        gate.grad = torch.zeros_like(gate)
    gates.push(1.0)
    first, second = (gates.gates[n].grad for n in ("body.2", "body.6"))
    ratio = gates.energy["body.2"] / gates.energy["body.6"]
    assert ratio > 1
    assert float(first.mean() / second.mean()) == pytest.approx(ratio)


def test_more_neurons_close_under_a_larger_penalty() -> None:
    kept = []
    for strength in (0.0, 1e-5, 1e-4, 1e-2):
        _, gates = both("chain", steps=40, until=40, strength=strength)
        kept.append(sum(gates.kept().values()))
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < 0.5 * kept[0]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("way", ["until", "hold", "finalize"])
def test_a_sparsity_of_neurons_is_exact(sparsity: float, way: str) -> None:
    steps = 12 if way == "until" else 7
    loop, gates = both("chain", steps=steps, neuron_sparsity=sparsity, sparsity=0.5)
    if way == "hold":
        loop.pruner.hold(torch.optim.SGD(loop.model.parameters(), 0.1))
    elif way == "finalize":
        loop.pruner.finalize()
    total = sum(gates.sizes().values())
    assert sum(gates.kept().values()) == total - round(sparsity * total)
    lowest = torch.cat([g.detach()[m] for g, m in _pairs(loop, gates)]).min()
    assert sparsity > 0.9 or all(
        bool((g.detach()[~m] <= lowest).all()) for g, m in _pairs(loop, gates)
    )


def _pairs(loop: Loop, gates: NeuronGates) -> list[tuple[Tensor, Tensor]]:
    return [(gates.gates[n], m) for n, m in neuron_masks(loop.model).items()]


def test_neurons_without_space_or_reader_have_no_masks() -> None:
    assert set(both("snnTorch", steps=0)[1].gates) == {"lif1", "lif2"}
    with pytest.raises(mg.ConfigError, match="neurons: no layer"):
        Loop(UPR, "dense", neurons=True)


def test_every_rank_gets_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    from microglia.methods.parts import neuron_gates

    _, gates = both("chain", steps=1)
    for gate in gates.gates.values():
        gate.grad = torch.full_like(gate, 3.0)
    monkeypatch.setattr(neuron_gates.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(neuron_gates.dist, "all_reduce", lambda x: x.add_(5.0))
    monkeypatch.setattr(neuron_gates.dist, "get_world_size", lambda: 2)
    gates.push(0.0)
    assert all(torch.equal(g.grad, torch.full_like(g, 4.0)) for g in gates.gates.values())


def test_settings_out_of_range_are_refused_and_leave_the_network_alone() -> None:
    for settings, word in (
        ({"neurons": True, "neuron_sparsity": 1.0}, "neuron_sparsity"),
        ({"neuron_sparsity": 0.5}, "neuron_sparsity"),
    ):
        model, x = make("chain")
        keys = list(model.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with pytest.raises(mg.ConfigError, match=word):
            UPR(model, example_input=x, optimizer=optimizer, every=1, until=2, **settings)
        assert list(model.state_dict()) == keys
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_state_with_other_parts_is_refused_before_anything_changes() -> None:
    with_neurons, without = (Loop(method, "chain", sparsity=0.5).pruner for method in (Both, UPR))
    for mine, other in ((with_neurons, without), (without, with_neurons)):
        before = {name: mask.clone() for name, mask in mine.masks.keep().items()}
        with pytest.raises(mg.ConfigError, match="with other settings"):
            mine.load_state_dict(other.state_dict())
        assert all(torch.equal(mask, before[name]) for name, mask in mine.masks.keep().items())
